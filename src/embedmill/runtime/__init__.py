"""Of the present process and machine: cores, memory, paths, locks, queues between threads."""
