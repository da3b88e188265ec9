"""Flash encryption from the bench's side: whose key, and what the host puts into flash and finds there."""

from __future__ import annotations

import os

from rig.boards.board import Board, Capability
from rig.boards.firmware import FirmwareBuild
from rig.errors import NotApplicable
from rig.idf.encrypted_layout import encrypted_content
from rig.idf.flash_cipher import PLAIN, FlashCipher, cipher_for

KEY_SIZE = 32


def key_for(build: FirmwareBuild, board: Board) -> bytes | None:
    """The key for a build with flash encryption: the board's own, else a new one; None for any other build.

    A chip that is encrypted for good reads every build with its own key. A new one is good for one trial, is burnt into
    the eFuses before the chip starts, and is written nowhere. NotApplicable for a board without flash encryption.
    """
    if board.encryption_key is not None:
        return board.encryption_key
    if build.sdkconfig.get("SECURE_FLASH_ENC_ENABLED") is not True:
        return None
    lacks = board.missing.get(Capability.FLASH_ENCRYPTION)
    if lacks is not None:
        raise NotApplicable(f"board {board.name} has no flash_encryption: {lacks}")
    if build.sdkconfig.get("SECURE_FLASH_ENCRYPTION_AES128_DERIVED") is True:
        raise NotApplicable("a key derived from 128 eFuse bits is not known to the bench", hint="take XTS-AES-128")
    size = 2 * KEY_SIZE if build.sdkconfig.get("SECURE_FLASH_ENCRYPTION_AES256") is True else KEY_SIZE
    return os.urandom(size)


def chip_cipher(chip: str, key: bytes | None) -> FlashCipher:
    """How that chip reads its flash."""
    return PLAIN if key is None else cipher_for(chip, key)


def as_flashed(build: FirmwareBuild, content: bytes, cipher: FlashCipher) -> bytes:
    """Flash `content` as it must lie in flash, for a chip of that cipher to read it."""
    return encrypted_content(content, cipher, build.table, build.boot_config.partition_table_offset)
