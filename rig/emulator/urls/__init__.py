"""pyserial looks here for the handler of `qemu://` (see `rig.emulator.port.enable`)."""
