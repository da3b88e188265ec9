"""The component `esp_encrypted_img` on the device: a pre-encrypted image in pieces in, the image in pieces out.

Decides where the C code decides (`esp_encrypted_img_decrypt_data`, `process_bin` and `esp_encrypted_img_decrypt_end` in
src/esp_encrypted_img.c of espressif/idf-extra-components, v2.7.1): the magic as soon as 4 bytes are there, the key
block as soon as it is there, and everything else only at the end. What was put out before is not yet trustworthy.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import AEADDecryptionContext, Cipher, algorithms, modes

from rig.idf.content_key import RSA, ContentKeyError, PrivateKey, form_of, unwrap
from rig.idf.effects import Log
from rig.idf.encrypted_image import HEADER_SIZE, EncryptedHeader, is_encrypted
from rig.idf.encryption_keys import read_private_key
from rig.idf.errors import FormatError

TAG = "esp_encrypted_img"
_MAGIC_END, _KEY_END = 4, 388
_BLOCK = 16
_BAD_KEY_FORMAT = -0x3D00


class DecryptError(Exception):
    """`error` is the ESP-IDF name that the call returns, `text` what it logs last."""

    def __init__(self, error: str, text: str) -> None:
        super().__init__(f"{error}: {text}")
        self.error = error
        self.text = text


class Decryptor:
    """One download. The form, RSA-3072 or ECIES-P256, is that of the device's key.

    `private_key_pem` is not looked at before the key block of an image has arrived, as on the device.
    """

    def __init__(self, private_key_pem: bytes) -> None:
        self._key_file = private_key_pem
        self._logs: list[Log] = [_line("I", "Initializing Decryption Handle")]
        self._header = bytearray()
        self._key = b""
        self._size = self._read = 0
        self._tag = self._cached = b""
        self._gcm: AEADDecryptionContext | None = None

    def take_logs(self) -> list[Log]:
        """The log lines since the last call."""
        logs, self._logs = self._logs, []
        return logs

    def feed(self, data: bytes) -> bytes:
        """esp_encrypted_img_decrypt_data: what can be put out now, whole blocks of 16 bytes until the end is there.

        Raises DecryptError for a wrong magic and a key block that does not go with the device's key. May put out
        nothing; esp_https_ota of ESP-IDF v5 ends the update on that (`esp_https_ota_decrypt_cb`), whatever is left.
        """
        if self._gcm is None:
            data = self._take_header(data)
        if self._gcm is None:
            return b""
        self._read += len(data)
        waiting = self._cached + data
        whole = len(waiting) if self._read == self._size else len(waiting) - len(waiting) % _BLOCK
        self._cached = waiting[whole:]
        return self._gcm.update(waiting[:whole])

    def finish(self) -> None:
        """esp_encrypted_img_decrypt_end. Raises DecryptError unless the image is whole and its tag matches."""
        if self._gcm is None:
            raise self._failed("Decryption process not completed successfully")
        if self._cached or self._read != self._size:
            raise self._failed("Invalid operation")
        try:
            self._gcm.finalize_with_tag(self._tag)
        except InvalidTag as error:
            raise self._failed("Invalid Auth") from error

    def _take_header(self, data: bytes) -> bytes:
        """Collect the header; what is behind it is handed back."""
        before = len(self._header)
        self._header += data[: HEADER_SIZE - before]
        after = len(self._header)
        if before < _MAGIC_END <= after:
            self._check_magic()
        if before < _KEY_END <= after:
            self._key = self._content_key()
        if after == HEADER_SIZE:
            header = EncryptedHeader.parse(bytes(self._header))
            self._size, self._tag = header.size, header.tag
            self._gcm = Cipher(algorithms.AES256(self._key), modes.GCM(header.iv)).decryptor()
        return data[HEADER_SIZE - before :]

    def _check_magic(self) -> None:
        if not is_encrypted(bytes(self._header[:_MAGIC_END])):
            raise self._failed("Magic Verification failed")
        self._logs.append(_line("I", "Magic Verified"))

    def _content_key(self) -> bytes:
        try:
            private_key = read_private_key(self._key_file)
        except FormatError:
            self._mbedtls_failed("mbedtls_pk_parse_keyfile", _BAD_KEY_FORMAT)
            raise self._no_key("Unable to decipher GCM key") from None
        try:
            key = unwrap(bytes(self._header[_MAGIC_END:_KEY_END]), private_key)
        except ContentKeyError as error:
            raise self._refused_by(private_key, error.status) from None
        if form_of(private_key) == RSA:
            self._logs.append(_line("I", "Reading RSA private key"))
        else:
            self._logs += _line("I", "ECC key derived successfully"), _line("I", "GCM key derived successfully")
        return key

    def _refused_by(self, private_key: PrivateKey, status: int) -> DecryptError:
        if form_of(private_key) == RSA:
            self._logs.append(_line("I", "Reading RSA private key"))
            self._mbedtls_failed("mbedtls_pk_decrypt", status)
            return self._no_key("Unable to decipher GCM key")
        self._mbedtls_failed("mbedtls_ecp_check_pubkey", status)
        self._logs.append(_line("E", "Failed to get server public point"))
        return self._no_key("Failed to derive GCM key")

    def _mbedtls_failed(self, call: str, status: int) -> None:
        self._logs.append(_line("E", f"failed\n  ! {call} returned -0x{-status:04x}\n"))

    def _no_key(self, text: str) -> DecryptError:
        self._logs.append(_line("E", text))
        return self._failed("Failed to process GCM key")

    def _failed(self, text: str) -> DecryptError:
        self._logs.append(_line("E", text))
        return DecryptError("ESP_FAIL", text)


def _line(level: str, text: str) -> Log:
    return Log(level, TAG, text)
