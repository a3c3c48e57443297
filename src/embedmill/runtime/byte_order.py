"""The marks that a text file may begin with, which tell its encoding."""

from __future__ import annotations

import codecs
from typing import Final

BYTE_ORDER_MARKS: Final = (  # the longer first: UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Mark -> encoding."""
