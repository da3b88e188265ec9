"""Report pages as a parser and as a browser see them."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

VOID = {"meta", "br", "wbr", "input", "link", "img", "hr"}
HOSTILE = (
    "<script>document.title='owned'</script>\"><img src=http://x.example/ onerror=alert(1)>' "
    "\x1b[31m\x00\x07\x85\u202e {{ 7*7 }}"
)
MEASURE = """
const root = page.documentElement, size = frame.contentWindow.innerWidth;
page.querySelectorAll("details").forEach((part) => { part.open = true; });
const out = [...page.querySelectorAll("main *, header *")].filter((e) =>
  !e.closest(".scroll, .wide, pre, svg, .aside") && e.getBoundingClientRect().right > size + 0.5);
return {size, scroll: root.scrollWidth, title: page.title, out: out.map((e) => e.outerHTML.slice(0, 120)),
  script: root.classList.contains("script")};
"""
"""What of a page is wider than its window."""


class Page(HTMLParser):
    """Elements with attributes and text of a page; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.texts)


def chromium(folder: Path, page: str, *arguments: str) -> str:
    """Open `page` in a headless browser and return the page's markup after its scripts ran; skips without a browser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine to look at the page with")
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    options += "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=2000"
    file = folder / "frame.html"
    file.write_text(page, encoding="utf-8")
    command = [browser, *options.split(), f"--user-data-dir={folder / 'profile'}", *arguments, file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def framed(page: str, width: int, script: str) -> str:
    """A page with `page` in a frame of that width (px); what `script` returns about it is kept in `data-seen`.

    A frame, because a browser window has a least width of its own.
    """
    return (
        f'<!doctype html><body style="margin:0"><iframe id="frame" style="border:0;width:{width}px;height:900px" '
        f'srcdoc="{html.escape(page)}"></iframe><script>const frame = document.getElementById("frame");'
        f"const look = async (page) => {{ {script} }};"
        f'frame.addEventListener("load", async () => {{ document.body.dataset.seen = '
        f"JSON.stringify(await look(frame.contentDocument)); }});</script></body>"
    )


def seen_in_browser(folder: Path, page: str, width: int, script: str) -> dict[str, Any]:
    dump = chromium(folder, framed(page, width, script), "--dump-dom")
    found = re.search(r'data-seen="([^"]*)"', dump)
    assert found is not None, dump[-500:]
    seen: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return seen
