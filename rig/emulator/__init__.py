"""Unmodified firmware on Espressif's QEMU: its flash behind an own NBD server, its UART as a pyserial port."""
