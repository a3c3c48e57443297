"""Documents to text, a module for each family of formats. They run in a process of their own (see `child`)."""
