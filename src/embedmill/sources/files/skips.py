"""Why a file or folder is left out."""

from __future__ import annotations

from enum import StrEnum


class Skip(StrEnum):
    """The reasons, a closed set. A folder counts once, whatever is in it."""

    HIDDEN = "hidden"  # its name begins with a dot
    TOOL_FOLDER = "tool folder"  # version control, packages, caches, virtual environments
    IGNORED = "ignored"  # by .gitignore, .git/info/exclude or .embedmillignore
    EXCLUDED = "excluded"  # by --exclude
    NOT_INCLUDED = "not included"  # no --include matches
    BINARY = "binary"
    TOO_LARGE = "too large"
    LINK = "link"  # leads to something that is listed in its own place
    LINK_OUTSIDE = "link outside"  # leads out of the given folder
    BROKEN_LINK = "broken link"
    SPECIAL = "special"  # a pipe, socket or device
    VANISHED = "vanished"  # between listing and reading
    UNREADABLE_FOLDER = "unreadable folder"
    OWN = "embedmill's own"  # the store that is written to
    GENERATED = "generated"  # lock files, source maps, minified code and the like (--generated takes them)
    NUMBERS = "table of numbers"  # a large one (--generated takes it)
    OFFICE_LOCK = "office lock file"  # what Word and LibreOffice leave beside a document that somebody has open
    WITHOUT_TEXT = "without text"  # a document of pictures alone, as a scanned PDF; it is in the store, without chunks
    NEEDS_EXTRA = "needs embedmill[documents]"


class LeftOut(Exception):
    """Raised where reading a file shows that it is to be left out."""

    def __init__(self, reason: Skip) -> None:
        super().__init__(reason)
        self.reason = reason
