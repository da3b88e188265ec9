"""Text from boards made safe to show: a log may hold anything, from colour codes to forged markup."""

from __future__ import annotations

import math
import re
from urllib.parse import quote

# SGR and other CSI sequences; ESP-IDF colours its log lines with them.
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# What could break a page, a terminal or XML, or reorder the text around it (bidirectional controls).
_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufdd0-\ufdef\ufeff\ufffe\uffff\ud800-\udfff]"
)
# Everything that XML 1.0 has no place for.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def clean(text: str) -> str:
    """`text` without colour codes, line ends as `\\n`, every other control character as in Python: `\\x1b`."""
    return _UNSAFE.sub(_visible, _ANSI.sub("", text).replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """`clean` text with every run of white space as one space."""
    return " ".join(clean(text).split())


def xml_text(text: str) -> str:
    """`text` without colour codes and without the characters that XML 1.0 forbids."""
    return _NOT_XML.sub("", _ANSI.sub("", text))


def relative_link(path: str) -> str | None:
    """The address of a file inside the report folder; None if `path` leads out of it."""
    parts = path.replace("\\", "/").split("/")
    if not path or parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:$", parts[0]):
        return None
    # "./" keeps a name with a colon from being read as a scheme.
    return "./" + quote("/".join(parts).removeprefix("./").encode("utf-8", "replace"))


def seconds(value: float) -> str:
    """A duration in seconds as a person would say it: `0.42 s`, `12.3 s`, `3 min 05 s`, `1 h 02 min`."""
    if not math.isfinite(value):
        return "? s"
    if value < 10:
        return f"{value:.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
