"""Initial otadata contents, in the words of ESP-IDF. An entry is 32 bytes at the start of its sector."""

from rig.idf.otadata import ImageState, make_entry

BLANK = b""


def entry(seq: int, state: str) -> bytes:
    """A good select entry with that sequence number and image state."""
    return make_entry(seq, ImageState[state]).pack()


def bad_crc(seq: int, state: str = "VALID") -> bytes:
    """The same with its checksum spoilt, as a torn write leaves it."""
    good = bytearray(entry(seq, state))
    good[-1] ^= 0xFF
    return bytes(good)
