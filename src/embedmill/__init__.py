"""embedmill turns a corpus into validated vectors in your own database."""
