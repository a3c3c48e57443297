"""Whether a text is YAML; what it says is read by `yaml`."""

from __future__ import annotations

import re
from typing import Final

from embedmill.taxonomy.formats.text import FileText

_BEGINS: Final = re.compile(r"""---(?:\s|$)|%YAML|-(?:\s|$)|(?:"[^"]*"\s*|'[^']*'\s*|[^\s#'"][^#]*?):(?:\s|$)""")


def fits(file: FileText) -> bool:
    """Whether each line that is not indented begins an item or a key, as no flat list has it."""
    lines = [line for line in file.text.split("\n") if line.strip() and not line.startswith((" ", "\t", "#"))]
    return bool(lines) and all(_BEGINS.match(line) or line in ("...", "]", "}") for line in lines)
