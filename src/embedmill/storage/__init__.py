"""Where vectors are kept: a folder for each backend, and what the backends share."""
