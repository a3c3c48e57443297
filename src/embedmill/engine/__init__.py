"""What every run shares, whatever it reads and wherever it writes."""
