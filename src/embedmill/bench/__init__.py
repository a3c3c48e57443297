"""Measuring this machine, this model and this database."""
