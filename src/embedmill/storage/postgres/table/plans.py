"""How the server is to look up a table's rows: settings of its planner."""

from __future__ import annotations

from typing import Final

ROW_BY_ROW: Final = {
    # Pages and batches are looked up row by row through the key's index, however old the statistics of a table are
    # that is just being filled. Compiling such small queries would take longer than they do.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_nestloop": "on",
    "jit": "off",
}

IN_ORDER: Final = ROW_BY_ROW | {"enable_sort": "off"}
"""Of the keys, a page after the other."""

WHOLE: Final = {
    # What compares all rows with all marks by values that no index has: row by row that would take minutes for some ten
    # thousand, and the planner, which knows nothing of marks that were just written, may choose that if it can.
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "enable_seqscan": "on",
    "enable_bitmapscan": "on",
    "enable_sort": "on",
    "enable_nestloop": "off",
}
