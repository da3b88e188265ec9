"""The firmware's pure C, compiled with the system's compiler and run as a process."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rig.protocol import Frame, Line
from rig.virtual.builds import FIRMWARE

AGENT = FIRMWARE / "components" / "rig_agent"
PURE = AGENT / "pure"
NETWORK_PURE = FIRMWARE / "components" / "rig_network" / "pure"
PRE_ENCRYPTED_PURE = FIRMWARE / "optional_components" / "rig_pre_encrypted" / "pure"
PURE_FOLDERS = (PURE, NETWORK_PURE, PRE_ENCRYPTED_PURE)
HERE = Path(__file__).parent

_FLAGS = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-g", "-O1")
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
OTHER, BAD, GOOD = range(3)
_FOUND, _DAMAGED = 1, 2


def compiler() -> str | None:
    """The system's C compiler, if there is one."""
    return shutil.which(os.environ.get("CC", "cc"))


def environment() -> dict[str, str]:
    # The leak check needs ptrace, which containers forbid; the harness ends with its test run anyway.
    return os.environ | {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def sanitizer_flags(cc: str, folder: Path) -> tuple[str, ...]:
    """Flags for the sanitizers if a program built with them runs here, else none."""
    source, program = folder / "probe.c", folder / "probe"
    source.write_text("int main(void) { return 0; }\n")
    built = subprocess.run([cc, *_SANITIZERS, str(source), "-o", str(program)], capture_output=True, check=False)
    if built.returncode != 0:
        return ()
    ran = subprocess.run([str(program)], env=environment(), capture_output=True, check=False)
    return _SANITIZERS if ran.returncode == 0 else ()


def compile_program(cc: str, name: str, folder: Path) -> Path:
    """`name`.c of this folder with all of the pure C; AssertionError with the compiler's words."""
    sources = [HERE / f"{name}.c", *sorted(source for pure in PURE_FOLDERS for source in pure.glob("*.c"))]
    command = [
        cc, *_FLAGS, *sanitizer_flags(cc, folder), *(f"-I{pure}" for pure in PURE_FOLDERS), *map(str, sources),
        "-o", str(folder / name),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / name


class Row(NamedTuple):
    """One row of a partition table as the C code reads it."""

    type: int
    subtype: int
    offset: int
    size: int
    flags: int
    label: bytes


class CutRecord(NamedTuple):
    """What an app arms for the bootloader (rig_cut_record.h), without magic and check-sum."""

    program: bool
    nth: int
    delay_us: int
    start: int
    end: int


class Piped:
    """A program that includes pipe.h, in a process of its own."""

    def __init__(self, program: Path, errors: Path) -> None:
        self._program = program
        self._errors = errors

    def __enter__(self) -> CSide:
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(self._program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment()
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def ask(self, operation: str, payload: bytes) -> bytes:
        """One operation."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(operation.encode() + struct.pack("<I", len(payload)) + payload)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        head = self._process.stdout.read(4)
        if len(head) < 4:
            raise AssertionError(f"the C code died: {self._errors.read_text(errors='replace')[:4000]}")
        return self._process.stdout.read(int.from_bytes(head, "little"))


class CSide(Piped):
    """harness.c; every method is one operation."""

    def parse(self, raw: bytes) -> tuple[int, Line | None, bool]:
        """Verdict, the line if it is good, and whether it is a request."""
        answer = Reader(self.ask("P", raw))
        verdict = answer.number(1)
        if verdict != GOOD:
            return verdict, None, False
        is_request, number, word = bool(answer.number(1)), answer.number(4), answer.text().decode()
        fields = {}
        while answer.left:
            name = answer.text().decode()
            fields[name] = answer.text().decode()
        return verdict, Line(number or None, word, fields), is_request

    def encode(self, number: int | None, word: str, fields: Sequence[tuple[str, bytes]]) -> bytes:
        """The sealed line; empty when it is too long."""
        message = struct.pack("<I", number or 0) + _short(word)
        for name, value in fields:
            message += _short(name) + struct.pack("<H", len(value)) + value
        return self.ask("E", message)

    def encode_numbers(self, number: int, data: bytes) -> bytes:
        """The line `numbers` with decimal, hex, flag and bytes."""
        return self.ask("#", struct.pack("<I", number) + data)

    def number_argument(self, raw: bytes, name: str, low: int, high: int) -> int | None:
        answer = Reader(self.ask("A", _short(name) + struct.pack("<II", low, high) + raw))
        return answer.number(4) if answer.number(1) else None

    def text_argument(self, raw: bytes, name: str, room: int) -> tuple[bool, bool, bool, bytes]:
        """Whether it fits, is given, is 32 bytes in hexadecimal; and the text."""
        answer = self.ask("B", _short(name) + struct.pack("<H", room) + raw)
        return bool(answer[0]), bool(answer[1]), bool(answer[2]), answer[3:]

    def is_utf8(self, data: bytes) -> bool:
        return self.ask("U", data) == b"\x01"

    def crc32(self, data: bytes) -> int:
        return int.from_bytes(self.ask("C", data), "little")

    def number(self, text: bytes) -> int | None:
        answer = Reader(self.ask("N", text))
        good, value = answer.number(1), answer.number(4)
        return value if good else None

    def sha256(self, data: bytes, piece: int) -> bytes:
        return self.ask("S", struct.pack("<H", piece) + data)

    def table(self, data: bytes) -> list[Row]:
        answer = Reader(self.ask("T", data))
        count = answer.number(2)
        rows = [Row(*(answer.number(size) for size in (1, 1, 4, 4, 4)), answer.text()) for _ in range(count)]
        assert not answer.left
        return rows

    def console_lines(self, pieces: Sequence[bytes]) -> list[bytes]:
        """The lines that come out when the UART receives `pieces`."""
        self.ask("I", b"")
        lines = []
        for piece in pieces:
            answer = Reader(self.ask("i", piece))
            while answer.left:
                lines.append(answer.text())
        return lines

    def frames(self, pieces: Sequence[bytes], max_payload: int) -> list[list[Frame | None]]:
        """What each piece completes; None for damage."""
        self.ask("F", struct.pack("<H", max_payload))
        return [self._frames(Reader(self.ask("f", piece))) for piece in pieces]

    def transfer_begin(self, now: int, size: int, timeout: int, max_payload: int, refuse_at: int = 0xFFFFFFFF) -> None:
        """Times in ms; the flash refuses to write from offset `refuse_at` on."""
        self.ask("X", struct.pack("<IIIHI", now, size, timeout, max_payload, refuse_at))

    def transfer_take(self, now: int, data: bytes) -> tuple[list[tuple[str, object]], int, int]:
        """What was written (`w`) and said (`a`, `n`), the status, and ms left until the time limit."""
        answer = Reader(self.ask("x", struct.pack("<I", now) + data))
        events: list[tuple[str, object]] = []
        while (kind := chr(answer.number(1))) != "s":
            events.append((kind, answer.text() if kind == "w" else answer.number(4)))
        return events, answer.number(1), answer.number(4)

    def seal_record(self, record: CutRecord) -> bytes:
        """As it lies in RTC memory."""
        return self.ask("K", struct.pack("<5I", *record))

    def record_is_good(self, raw: bytes) -> bool:
        return self.ask("k", raw) == b"\x01"

    def clear_record(self, raw: bytes) -> bytes:
        return self.ask("Z", raw)

    def record_names(self, raw: bytes, program: bool, address: int, size: int) -> bool:
        """Whether an operation is one that the record counts."""
        return self.ask("n", raw + struct.pack("<BII", program, address, size)) == b"\x01"

    def flash_command(self, command: int, data_size: int) -> tuple[bool, int]:
        """Whether the command programs, and how many bytes it erases or programs."""
        answer = Reader(self.ask("o", struct.pack("<II", command, data_size)))
        return bool(answer.number(1)), answer.number(4)

    def _frames(self, answer: Reader) -> list[Frame | None]:
        found: list[Frame | None] = []
        while answer.left:
            if answer.number(1) == _FOUND:
                found.append(Frame(answer.number(1), answer.number(4), answer.text()))
            else:
                found.append(None)
        return found


class Reader:
    """Takes an answer of the harness apart."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def text(self) -> bytes:
        return self._take(self.number(2))

    def _take(self, size: int) -> bytes:
        assert size <= self.left
        self._at += size
        return self._data[self._at - size : self._at]


def _short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()
