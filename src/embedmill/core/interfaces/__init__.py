"""What the engine and the pipelines know of their adapters: small protocols, a file for each family."""
