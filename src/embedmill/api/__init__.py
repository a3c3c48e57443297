"""The commands as functions: here names and URLs become models, stores and executors."""
