"""Text on its way to a terminal: on one line, without control characters, in characters that its encoding has."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from rig.evidence.report_page.text import one_line


def styled(text: str, style: str, console: Console) -> Text:
    """A line of its own."""
    return Text(plain(text, console), style=style)


def indented(text: str, console: Console) -> Padding:
    """What follows under a line, set in."""
    return Padding(Text(plain(text, console)), (0, 0, 0, 2))


def plain(text: str, console: Console) -> str:
    """`text` on one line, safe for a terminal, in characters that its encoding has."""
    return encodable(one_line(text), console)


def encodable(text: str, console: Console) -> str:
    """`text` with backslash escapes for what the encoding of `console` does not have."""
    encoding = console.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding, "replace")


def shortened(text: str, width: int, console: Console) -> str:
    """`plain` text in at most `width` columns."""
    short = plain(text, console)
    return short if cell_len(short) <= width else set_cell_size(short, width - 1) + "~"


def unicode(console: Console) -> bool:
    """Whether `console` can show more than ASCII."""
    return (console.encoding or "").lower().startswith("utf")
