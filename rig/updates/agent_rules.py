"""The tables of commands in PROTOCOL.md, sections 5 and 8: may a command be sent again, and how long may it take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Rule(NamedTuple):
    """`limit`: seconds from request to answer."""

    repeatable: bool
    limit: float


RESET = b"rst:0x"
"""In the line that the ROM of every chip prints after a reset."""
MOST_RESETS = 200
"""So many while one thing is waited for: this board does nothing else, and each of its boots has to be judged."""
_QUERY = Rule(True, 3.0)
_IMAGE_QUERY = Rule(True, 10.0)
SHORT = Rule(False, 10.0)
_ERASING = Rule(False, 120.0)
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        ("ping", "hello", "otadata", "table", "partition", "get_state", "diag", "diag_get", "secver"), _QUERY
    ),
    **dict.fromkeys(("slots", "slot", "last_invalid", "rollback_possible"), _IMAGE_QUERY),
    **dict.fromkeys(("confirm", "reject", "invalidate_inactive", "burn", "update_abort"), SHORT),
    **dict.fromkeys(("erase_previous", "set_boot", "update_begin"), _ERASING),
    "update_end": Rule(False, 30.0),
    "reboot": Rule(False, 3.0),
    "crash": Rule(False, 3.0),
}
"""The table of PROTOCOL.md, section 5: may it be sent again, and how many seconds may the answer take."""

OPTIONAL_RULES: Mapping[str, Rule] = {
    "net": Rule(True, 90.0),
    "ca": Rule(True, 3.0),
    "image_key": Rule(True, 3.0),
    "update_url": Rule(False, 900.0),
    "gap_begin": Rule(False, 3.0),
    "gap_end": Rule(False, 3.0),
    "cut_line": Rule(True, 3.0),
}
"""The same for section 8: commands that an app may lack, AgentError ESP_ERR_NOT_SUPPORTED."""
