"""The one error of `rig.idf`: the bytes or the text given are not what ESP-IDF accepts."""


class FormatError(ValueError):
    """Data that ESP-IDF's own tools or bootloader would refuse; the message says what is wrong and where."""
