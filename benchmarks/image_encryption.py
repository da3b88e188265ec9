"""How fast images are pre-encrypted: `python -m benchmarks image_encryption`.

One image at a time, as `rig image encrypt` does it: a key for the image, its header, AES-256-GCM. Beside it the bare
AES-256-GCM of the library `cryptography` on the same bytes, turn by turn in one run; medians, in MB/s of 10^6 bytes.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rig.idf.encrypted_image import encrypt

SIZES = (256 * 1024, 1024 * 1024, 8 * 1024 * 1024)
SECONDS = 1.5
"""How long each row is measured."""


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    keys = {
        "RSA-3072": rsa.generate_private_key(65537, 3072).public_key(),
        "ECIES-P256": ec.generate_private_key(ec.SECP256R1()).public_key(),
    }
    print(f"{'form':<11} {'image':>9} {'encrypt':>12} {'bare AES-GCM':>14} {'ratio':>6}")
    for form, key in keys.items():
        for size in SIZES:
            image = b"\xe9" + random.Random(size).randbytes(size - 1)
            ours, bare = [], []
            until = time.perf_counter() + SECONDS
            while time.perf_counter() < until:
                ours.append(seconds(lambda image=image, key=key: encrypt(image, key)))
                bare.append(seconds(lambda image=image: AESGCM(os.urandom(32)).encrypt(os.urandom(16), image, None)))
            fast, base = statistics.median(ours), statistics.median(bare)
            speed, limit = size / fast / 1e6, size / base / 1e6
            print(f"{form:<11} {size // 1024:>5} KiB {speed:>7.0f} MB/s {limit:>9.0f} MB/s {fast / base:>6.2f}")


if __name__ == "__main__":
    main()
