"""pyserial's entry point for `qemu://NAME`."""

from rig.emulator.port import QemuSerial as Serial

__all__ = ["Serial"]
