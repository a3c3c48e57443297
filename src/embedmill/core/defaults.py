"""What is meant where a caller says nothing of the model."""

from typing import Final

DEFAULT_MODEL: Final = "all-MiniLM-L6-v2"
"""The model's name."""

DEFAULT_DIMENSION: Final = 384
"""Numbers in each of its vectors, as for a column's type; of any other model, `ModelLoader.get_model_dimension`."""
