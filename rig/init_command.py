"""`rig init`: finds attached boards, and writes the rig.toml that describes them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import esptool.cmds
from esptool.reset import HardReset
from esptool.util import FatalError
from serial.tools.list_ports import comports
from serial.tools.list_ports_common import ListPortInfo

from rig.boards.inventory import BenchConfig
from rig.boards.quiet_ports import open_quietly
from rig.boards.serial_ports import other_users
from rig.errors import BenchFault, UserError
from rig.idf.chips import CHIPS
from rig.screen import Screen

HEAD = """\
# This bench. The first board is taken unless `--board` names another. docs/bench.md explains every key.
# `rig doctor` proves the boards fit, `rig list` shows them.

[bench]
name = "bench"
"""
VIRTUAL = """
# Simulated, nothing to plug in.
[[board]]
name = "virtual-c3"
kind = "virtual"
chip = "esp32c3"
"""


class Place(NamedTuple):
    """A port to ask: where it is, what it is, and how rig.toml can name it for good (key and value)."""

    url: str
    bridge: str
    key: str
    value: str


class Found(NamedTuple):
    """A board that answered. `flash`: as esptool names its size."""

    place: Place
    chip: str
    mac: str
    flash: str
    description: str


def run(output: Path, ports: Sequence[str]) -> None:
    """Ask every place, and write `output`. UserError if that is there already; a port without a chip is left out."""
    if output.exists():
        raise UserError(f"{output} is there already", hint="--output writes another file")
    screen = Screen()
    found = []
    for place in [_named(port) for port in ports] or usb_places():
        with screen.status(f"asking {place.url}"):
            answer = ask(place)
        if isinstance(answer, Found):
            found.append(answer)
            said = f"{place.url}: {answer.description}, {answer.mac}, {answer.flash} of flash, {place.bridge}"
        else:
            said = f"{place.url}: left out: {answer}"
        screen.print(said, highlight=False, soft_wrap=True)
    text = render(found)
    BenchConfig.model_validate(tomllib.loads(text))
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BenchFault(f"{output}: cannot be written: {error.strerror}") from error
    boards = f"{len(found)} attached board{'' if len(found) == 1 else 's'}"
    screen.print(f"{output}: {boards} and a virtual one. Next: rig doctor", highlight=False, soft_wrap=True)


def usb_places() -> list[Place]:
    """Every USB serial port of this host, named by what stays the same."""
    ports = [port for port in comports() if port.vid is not None]
    numbers = [port.serial_number for port in ports]
    return [_place(port, unique=numbers.count(port.serial_number) == 1) for port in sorted(ports, key=_device)]


def ask(place: Place) -> Found | str:
    """Who is there; else why nobody is. The chip is reset twice, and runs on."""
    if users := other_users(os.path.realpath(place.url)):
        return f"held by {', '.join(users)}"
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            open_quietly(place.url, exclusive=None if "://" in place.url else True) as port,
        ):
            esp = esptool.cmds.detect_chip(port, connect_attempts=2)
            esp = esptool.cmds.run_stub(esp)
            esptool.cmds.attach_flash(esp)
            chip = esp.CHIP_NAME.lower().replace("-", "")
            mac = ":".join(f"{byte:02x}" for byte in esp.read_mac("BASE_MAC"))
            flash = esptool.cmds.detect_flash_size(esp) or "an unknown amount"
            description = str(esp.get_chip_description())
            HardReset(port)()
    except (OSError, ValueError, FatalError) as error:
        return f"no chip answers: {str(error).splitlines()[0]}"
    if chip not in CHIPS:
        return f"an {description}, which has no OTA rollback that is known here"
    return Found(place, chip, mac, flash, description)


def render(found: Iterable[Found]) -> str:
    """The text of rig.toml. Two boards on one bridge number are told apart by their MAC addresses."""
    boards = list(found)
    text = HEAD
    for board in boards:
        key, value = board.place.key, board.place.value
        if sum((other.place.key, other.place.value) == (key, value) for other in boards) > 1:
            key, value = "mac", board.mac
        name = f"{board.chip}-{board.mac[-5:].replace(':', '')}"
        text += f"\n# {board.description}, MAC {board.mac}, {board.flash} of flash, {board.place.bridge}\n"
        text += f'[[board]]\nname = "{name}"\nkind = "serial"\nchip = "{board.chip}"\n{key} = {json.dumps(value)}\n'
    return text + VIRTUAL


def _place(port: ListPortInfo, *, unique: bool) -> Place:
    bridge = str(port.product or port.description)
    if unique and port.serial_number:
        return Place(port.device, bridge, "serial_number", port.serial_number)
    return Place(port.device, bridge, "port", _by_path(port.device))


def _by_path(device: str) -> str:
    """The name that udev gives the socket it is plugged into; the device itself where there is none."""
    for folder in (Path("/dev/serial/by-path"), Path("/dev/serial/by-id")):
        for link in sorted(folder.glob("*")) if folder.is_dir() else ():
            if os.path.realpath(link) == device:
                return str(link)
    return device


def _named(port: str) -> Place:
    return Place(port, "named on the command line", "port", port)


def _device(port: ListPortInfo) -> str:
    return str(port.device)
