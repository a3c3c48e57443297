"""From a model's name to its files, its card and its tokenizer."""

from embedmill.models.architectures import COVERED
from embedmill.models.architectures.encoder import Transformer
from embedmill.models.card import Card, WeightFiles, read_card, weights_sha256
from embedmill.models.files import ModelFiles
from embedmill.models.head import Dense
from embedmill.models.locate import available, locate
from embedmill.models.packaged import DEFAULT_MODEL
from embedmill.models.tokenizer import Tokenizer, tokenizer_sha256

__all__ = [
    "COVERED", "DEFAULT_MODEL", "Card", "Dense", "ModelFiles", "Tokenizer", "Transformer", "WeightFiles", "available",
    "locate", "read_card", "tokenizer_sha256", "weights_sha256",
]  # fmt: skip
