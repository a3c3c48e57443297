"""The nouns, contracts and errors that everything else speaks of."""
