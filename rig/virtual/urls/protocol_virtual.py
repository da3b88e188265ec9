"""pyserial's entry point for `virtual://NAME`."""

from rig.virtual.port import VirtualSerial as Serial

__all__ = ["Serial"]
