"""Stands in for QEMU: same arguments, same sockets, but its "firmware" does what lines on the UART tell it.

Run as a program. The flash model sends what QEMU's does: a whole sector for an erase, a whole page for a program.
"""

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

PAGE, SECTOR = 256, 4096
MUTE_LOOP = 0x55
"""In the first byte of flash: reset at once, without a word, again and again."""
SCRIPT = 0xA5
"""In the first byte of flash: what follows, up to a zero byte, is obeyed before the UART is listened to."""
NEXT_PROCESS = "--"
"""Between what the first process of a folder does and what the next one does; the last part is done by all others."""


def script(*parts: str) -> bytes:
    """The beginning of flash that lets one process after the other do one of `parts`, each a command a line."""
    return bytes([SCRIPT]) + f"\n{NEXT_PROCESS}\n".join(parts).encode() + b"\0"


def program(folder: Path) -> Path:
    """Put a program into `folder` that runs this file and is named like the real one."""
    path = folder / "qemu-system-riscv32"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{Path(__file__).absolute()}" "$@"\n')
    path.chmod(0o755)
    return path


class Flash:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.sendall(struct.pack(">I", 3))
        self.take(18)
        self.socket.sendall(struct.pack(">QIIIHH", 0x49484156454F5054, 7, 8, 0, 1, 3))
        while True:
            _, _, kind, length = struct.unpack(">QIII", self.take(20))
            data = self.take(length)
            if kind == 1:
                break
            if data[:2] == b"\0\0":
                self.size = struct.unpack(">Q", data[2:10])[0]
        self.unanswered = 0
        self.late = []
        self.cells = bytearray()
        self.request(0, 0, self.size)
        self.cells += self.take(self.size)

    def take(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def request(self, kind, offset, length, data=b""):
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, offset, length) + data)
        magic, error, _ = struct.unpack(">IIQ", self.take(16))
        assert magic == 0x67446698, hex(magic)
        assert error == 0, error

    def sync(self, offset, size):
        self.request(1, offset, size, bytes(self.cells[offset : offset + size]))

    def erase(self, offset):
        self.cells[offset : offset + SECTOR] = b"\xff" * SECTOR
        self.sync(offset, SECTOR)

    def program(self, offset, data):
        for index, byte in enumerate(data):
            self.cells[offset + index] &= byte
        page = offset - offset % PAGE
        self.sync(page, PAGE)


class Monitor:
    """After `stop` the guest does nothing more, and all it sent to its flash has been answered."""

    def __init__(self, path, flash):
        self.flash = flash
        self.guest_runs = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        self.say({"QMP": {"version": {}, "capabilities": []}})
        for _ in ("qmp_capabilities", "cont"):
            self.lines.readline()
            self.event("RESUME")
            self.say({"return": {}})
        threading.Thread(target=self.obey, daemon=True).start()

    def obey(self):
        assert json.loads(self.lines.readline()) == {"execute": "stop"}
        self.guest_runs.acquire()
        self.flash.take(16 * self.flash.unanswered)
        for offset in self.flash.late:
            self.flash.sync(offset, PAGE)
        self.event("STOP")
        self.say({"return": {}})

    def say(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\r\n")

    def event(self, name, **data):
        self.say({"timestamp": {}, "event": name, "data": data})


class Firmware:
    def __init__(self, flash, monitor, log, fifo, options):
        self.flash, self.monitor, self.options = flash, monitor, options
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND)
        self.input = os.fdopen(os.open(fifo, os.O_RDONLY), "rb", buffering=0)

    def say(self, *words):
        with self.monitor.guest_runs:
            os.write(self.log, " ".join(words).encode() + b"\n")

    def end(self, reason, code=0):
        self.monitor.event("SHUTDOWN", guest=True, reason=reason)
        sys.exit(code)

    def run(self):
        if self.flash.cells[0] == MUTE_LOOP:
            self.end("guest-reset")
        self.say("rst:0x1 (POWERON)")
        self.say(f"flash begins with {self.flash.cells[:4].hex()}")
        if self.flash.cells[0] == SCRIPT:
            for line in self.part():
                self.obey(line)
        while True:
            self.obey(self.input.readline().decode())

    def part(self):
        """The lines of the script that are this process's."""
        with open("processes", "a+") as file:
            file.write("x")
            number = file.tell() - 1
        text = bytes(self.flash.cells[1 : self.flash.cells.index(0)]).decode()
        parts = text.split(f"\n{NEXT_PROCESS}\n")
        return parts[min(number, len(parts) - 1)].splitlines()

    def obey(self, line):
        name, *words = line.split()
        getattr(self, "do_" + name)(*words)

    def do_say(self, *words):
        self.say(*words)

    def do_prompt(self, *words):
        """`say` without the end of the line."""
        os.write(self.log, " ".join(words).encode())

    def do_look(self, offset, size):
        """The flash chip gives bytes to its controller."""
        if self.options["-trace"] == ["m25p80_read_byte"]:
            with open(self.options["-D"][0], "a") as file:
                for address in range(int(offset, 16), int(offset, 16) + int(size, 16)):
                    file.write(f"m25p80_read_byte [0x55aa] Read byte {address:#x}={self.flash.cells[address]:#x}\n")

    def do_dump(self, offset):
        self.say(f"flash holds {self.flash.cells[int(offset, 16)]:02x}")

    def do_map(self, offset, size):
        """The cache takes a page."""
        self.flash.request(0, int(offset, 16), int(size, 16))
        self.flash.take(int(size, 16))

    def do_spin(self):
        while True:
            pass

    def do_icount(self):
        self.say("icount", *self.options["-icount"])

    def do_burn(self, offset, data):
        with open("efuse.bin", "r+b") as file:
            file.seek(int(offset, 16))
            self.say(f"efuses were {file.read(len(data) // 2).hex()}")
            file.seek(int(offset, 16))
            file.write(bytes.fromhex(data))

    def do_flood(self, count):
        for number in range(int(count)):
            self.say(f"line {number}")

    def do_erase(self, offset):
        with self.monitor.guest_runs:
            self.flash.erase(int(offset, 16))
        self.say("erased")

    def do_program(self, offset, data):
        with self.monitor.guest_runs:
            self.flash.program(int(offset, 16), bytes.fromhex(data))
        self.say("programmed")

    def do_raise(self, offset):
        self.flash.cells[int(offset, 16)] = 0xFF
        self.flash.sync(int(offset, 16), 1)
        # So many that an erase which was overtaken would have come.
        for _ in range(100):
            self.flash.program(0x2000, b"\0")
        time.sleep(60)

    def do_many(self, offset, count):
        """Sends programs without waiting for answers, as QEMU does, and says so."""
        start = int(offset, 16)
        requests = b""
        for number in range(int(count)):
            requests += struct.pack(">IHHQQI", 0x25609513, 0, 1, number, start + number, 1) + b"\0"
        with self.monitor.guest_runs:
            self.flash.unanswered = int(count)
            self.flash.socket.sendall(requests)
        self.say("sent")
        time.sleep(60)

    def do_reset(self):
        self.end("guest-reset")

    def do_end(self, reason, code):
        self.end(reason, int(code))

    def do_exit(self, code):
        print("qemu-system-fake: something went wrong", file=sys.stderr)
        sys.exit(int(code))

    def do_signal(self, number):
        os.kill(os.getpid(), int(number))

    def do_garbage(self):
        self.flash.socket.sendall(b"\x17" * 64)
        time.sleep(60)

    def do_drop(self):
        self.flash.socket.close()
        self.say("dropped")
        time.sleep(60)

    def do_sleep(self, seconds):
        time.sleep(float(seconds))

    def do_pid(self):
        self.say(f"pid {os.getpid()}")

    def do_late(self, offset, data):
        """A program that waits behind others: done for the guest, but not sent yet."""
        start = int(offset, 16)
        self.flash.cells[start : start + len(data) // 2] = bytes.fromhex(data)
        self.flash.late.append(start - start % PAGE)
        self.say("programmed")

    def do_deaf(self):
        """From now on QMP commands are not answered."""
        self.monitor.guest_runs.acquire()
        os.write(self.log, b"deaf\n")
        time.sleep(60)

    def do_efuse(self, value):
        with open("efuse.bin", "r+b") as file:
            self.say(f"efuse was {file.read(1).hex()}")
            file.seek(0)
            file.write(bytes.fromhex(value))


def main(arguments):
    if arguments == ["-machine", "help"]:
        print("Supported machines are:")
        print("esp32c3              Espressif ESP32-C3 machine\nnone                 empty machine")
        return
    if arguments == ["--version"]:
        print("QEMU emulator version 0.0 (fake)\nCopyright")
        return
    options = {}
    for name, value in zip(arguments, [*arguments[1:], ""], strict=True):
        options.setdefault(name, []).append(value)
    assert options["-machine"] == ["esp32c3"]
    assert {"-S", "-no-reboot"} <= set(options)
    drives = [dict(part.split("=", 1) for part in drive.split(",")) for drive in options["-drive"]]
    uart = dict(part.split("=", 1) for part in options["-chardev"][0].split(",")[1:])
    flash = Flash(next(drive["file"].partition("socket=")[2] for drive in drives if drive["if"] == "mtd"))
    assert any(os.path.getsize(drive["file"]) == 1024 for drive in drives if drive["if"] == "none")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    monitor = Monitor(options["-qmp"][0].partition(":")[2], flash)
    Firmware(flash, monitor, uart["path"], uart["input-path"], options).run()


if __name__ == "__main__":
    main(sys.argv[1:])
