"""pyserial looks here for the handler of `virtual://` (see `rig.virtual.port.enable`)."""
