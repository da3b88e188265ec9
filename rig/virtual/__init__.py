"""The simulated chip: NOR flash, ROM serial loader, boot and test app, behind an ordinary serial port."""
