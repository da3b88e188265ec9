"""What ESP-IDF puts in flash and how its bootloader decides. Pure: bytes in, bytes out; imports nothing else of rig."""
