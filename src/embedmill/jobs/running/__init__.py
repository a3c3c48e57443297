"""Jobs side by side: each in a process, as many at once as cores and memory allow."""
