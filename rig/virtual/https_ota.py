"""`esp_https_ota` of the app: begin, header, perform, finish or abort, each as the image's ESP-IDF does it.

Follows components/esp_https_ota/src/esp_https_ota.c of ESP-IDF v5.1.7, v5.5.5, v6.0.2 and v6.1-beta1 with buffers of
the default size, without bulk erase and without a final partition of its own. Where the C code waits for ever for a
silent server, `Silence` is raised instead: what is made of it is the app's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from rig.idf.chips import CHIPS
from rig.idf.image import AppDesc
from rig.idf.image_check import HEADER, revision_lines
from rig.idf.partitions import Partition
from rig.virtual.command import CommandError
from rig.virtual.http_client import REDIRECTIONS, HttpClient, HttpError
from rig.virtual.ota import OK, Ota
from rig.virtual.pre_encrypted import DecryptError

TAG = "esp_https_ota"
HEADER_READ = 1024
"""IMAGE_HEADER_SIZE: bytes that must have come before anything is decided; also what is read and written at once."""
_DESC_AT, _DESC_SIZE = 32, 256
_CHIP_ID_AT = 12


class _State(Enum):
    BEGIN = "begin"
    IN_PROGRESS = "in progress"
    SUCCESS = "success"
    RESUME = "resume"


@dataclass(frozen=True)
class Plan:
    """How to download. `request_size`: bytes of one range request, None for one request in all.

    `resumption`: whether to go on behind the `kept` bytes that are in the slot. `decrypt`: what makes plain bytes of a
    pre-encrypted file whose header has `header_size` bytes; raises DecryptError, or CommandError for the app's refusal.
    """

    request_size: int | None = None
    resumption: bool = False
    kept: int = 0
    decrypt: Callable[[bytes], bytes] | None = None
    header_size: int = 0


class HttpsOta:
    """One update, from `begin` to `finish` or `abort`. Calls raise CommandError, HttpError or Silence.

    `written`: bytes of image in the slot; `opened`: whether esp_ota_begin or esp_ota_resume has succeeded.
    """

    def __init__(self, ota: Ota, client: HttpClient, plan: Plan) -> None:
        self.written = 0
        self.opened = False
        self._ota = ota
        self._client = client
        self._plan = plan
        self._idf = ota.image.config.idf
        self._resumption = plan.resumption
        self._length = -1
        self._header = b""
        self._state = _State.BEGIN
        self._slot: Partition | None = None

    @property
    def slot(self) -> Partition:
        """The partition that is written, known after `begin`."""
        assert self._slot is not None
        return self._slot

    # --- esp_https_ota_begin -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Connect, read the headers, choose the slot; nothing is written."""
        if self._resumption and self._plan.kept >= HEADER_READ:
            self.written = self._plan.kept
        if self._plan.request_size is not None:
            self._ask_size(self._plan.request_size)
        elif self._resumption:
            self._client.headers["Range"] = f"bytes={self.written}-"
        try:
            self._connect()
        except HttpError as error:
            if error.error != "ESP_ERR_HTTP_RANGE_NOT_SATISFIABLE" or not self._resumption:
                self._error("Failed to establish HTTP connection")
                raise
            self._start_over()
        if self._plan.request_size is None:
            self._length = self._client.content_length - self._plan.header_size
        self._choose_slot()
        self._state = _State.RESUME if self.written else _State.BEGIN

    def _ask_size(self, request_size: int) -> None:
        """The size of the whole file by HEAD, and the first range."""
        client = self._client
        client.method = "HEAD"
        client.perform()
        if client.status == 200:
            self._length = client.content_length
        elif self._idf >= (6, 0):
            # servers without HEAD
            self._length = self._size_by_range()
        else:
            raise self._failed(f"Received incorrect http status {client.status}")
        if self._length < 0 and self._idf >= (6, 0):
            raise self._failed("Failed to get image length from http response")
        self._length -= self._plan.header_size
        client.close()
        start, whole = self.written, self._length > request_size + self.written
        end = start + request_size - 1 if whole else self._length
        if end - start < self._length:
            client.headers["Range"] = f"bytes={start}-{end}"
        client.method = "GET"

    def _size_by_range(self) -> int:
        client = self._client
        client.method, client.headers["Range"] = "GET", "bytes=0-0"
        client.perform()
        del client.headers["Range"]
        if client.status == 206:
            return client.content_range
        if client.status == 200:
            return client.content_length
        raise self._failed(f"Received incorrect http status {client.status}")

    def _start_over(self) -> None:
        """The server does not go on where the device would: the whole file once more."""
        self._ota.log.info(TAG, "Falling back to OTA without resumption and restarting download from beginning")
        self._resumption, self.written = False, 0
        self._client.headers.pop("Range", None)
        size = self._plan.request_size
        if size is not None and self._length > size:
            self._client.headers["Range"] = f"bytes=0-{size - 1}"
        self._client.close()
        self._connect()

    def _connect(self) -> None:
        """_http_connect: until an answer that is no redirection."""
        client = self._client
        while True:
            client.open()
            client.fetch_headers()
            self._judge_status(client.status)
            if client.status not in REDIRECTIONS:
                return
            client.follow()
            client.drain()

    def _judge_status(self, status: int) -> None:
        if status == 304 and self._idf >= (5, 5):
            raise HttpError("ESP_ERR_HTTP_NOT_MODIFIED", "status 304")
        if status == 416 and self._idf >= (5, 5):
            raise HttpError("ESP_ERR_HTTP_RANGE_NOT_SATISFIABLE", "status 416")
        if status >= 400:
            what = "Server error" if status >= 500 else "File not found" if status in (403, 404) else "Client error"
            raise self._failed(f"{what} ({status})")
        in_one = self._plan.request_size is None
        if self._resumption and in_one and status != 206 and status not in REDIRECTIONS:
            raise HttpError("ESP_ERR_HTTP_RANGE_NOT_SATISFIABLE", f"status {status} to a request for a range")

    def _choose_slot(self) -> None:
        log, name = self._ota.log, self._ota.next_slot()
        log.info(TAG, "Starting OTA...")
        self._slot = None if name is None else self._ota.table.slot_for_app(name)
        if self._slot is None:
            raise self._failed("Passive OTA partition not found")
        what = f"<{self._slot.label}> partition" if self._idf >= (5, 5) else f"partition subtype {self._slot.subtype}"
        log.info(TAG, f"Writing to {what} at offset 0x{self._slot.offset:x}")

    # --- esp_https_ota_get_img_desc ------------------------------------------------------------------------------

    def description(self) -> AppDesc:
        """What the new app says of itself, before anything is written; not with pre-encrypted images."""
        if self.written >= _DESC_AT + _DESC_SIZE:
            data = self._ota.memory.read(self.slot.offset + _DESC_AT, _DESC_SIZE)
        else:
            self._read_header()
            data = self._header[_DESC_AT:][:_DESC_SIZE]
        found = AppDesc.find(data)
        if found is None:
            raise self._failed("Incorrect app descriptor magic")
        return found

    def _read_header(self) -> None:
        data = b""
        try:
            while len(data) < HEADER_READ and not self._client.complete:
                data += self._client.read(HEADER_READ - len(data))
        except HttpError:
            self._error("Connection closed")
        if len(data) < HEADER_READ:
            raise self._failed("Complete headers were not received")
        self._header = data

    # --- esp_https_ota_perform -----------------------------------------------------------------------------------

    def perform(self) -> bool:
        """The next piece; True when there is nothing more to do."""
        if self._state is _State.BEGIN:
            return self._first_piece()
        if self._state is _State.RESUME:
            self._check_open("esp_ota_resume", self._ota.resume(self.slot.slot or "", self.written))
        data = self._client.read(HEADER_READ)
        if data:
            plain = self._decrypted(data)
            if not plain:
                # esp_https_ota_decrypt_cb gives its own state for an error: the caller takes it for the end
                return True
            self._write(plain)
            return False
        size = self._plan.request_size
        if size is None or self._length == self.written:
            self._state = _State.SUCCESS
        elif self._length > self.written:
            self._next_range(size)
            return False
        return True

    def _first_piece(self) -> bool:
        self._check_open("esp_ota_begin", self._ota.begin(self.slot.slot or "", 0, "seq"))
        if not self._header:
            self._read_header()
        try:
            data = self._decrypted(self._header)
        except DecryptError as error:
            raise self._failed("Decryption of image header failed", error.text) from error
        if not data:
            raise self._failed("Decryption of image header failed")
        self._check_chip(data)
        self._write(data)
        return False

    def _check_open(self, call: str, error: str) -> None:
        if error != OK:
            self._error(f"{call} failed ({error})")
            raise CommandError(error)
        self.opened = True
        self._state = _State.IN_PROGRESS

    def _check_chip(self, data: bytes) -> None:
        config = self._ota.image.config
        wanted = CHIPS[config.chip].chip_id
        found = int.from_bytes(data[_CHIP_ID_AT : _CHIP_ID_AT + 2], "little")
        if found != wanted:
            self._error(f"Mismatch chip id, expected {wanted}, found {found}")
            raise CommandError("ESP_ERR_INVALID_VERSION", f"an app for chip {found}, this one is {wanted}")
        lowest, highest = HEADER.unpack(data[: HEADER.size])[9:11]
        lines = revision_lines(lowest, highest, config) if self._idf >= (5, 5) else ()
        for line in lines:
            self._ota.log.effect(line)
        if lines:
            raise CommandError("ESP_ERR_INVALID_VERSION", "an app for other revisions of the chip")

    def _decrypted(self, data: bytes) -> bytes:
        return data if self._plan.decrypt is None else self._plan.decrypt(data)

    def _write(self, data: bytes) -> None:
        error = self._ota.write(data)
        if error != OK:
            self._error(f"Error: esp_ota_write failed! err={error}")
            raise CommandError(error, f"at offset {self.written}")
        self.written += len(data)

    def _next_range(self, size: int) -> None:
        self._client.close()
        start = self.written + self._plan.header_size
        end = str(start + size - 1) if self._length - self.written > size else ""
        self._client.headers["Range"] = f"bytes={start}-{end}"
        try:
            self._connect()
        except HttpError as error:
            raise self._failed("Failed to establish HTTP connection", str(error)) from error

    # --- the end -------------------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """esp_https_ota_is_complete_data_received."""
        return self._length == self.written if self._plan.request_size is not None else self._client.complete

    def finish(self) -> None:
        """esp_https_ota_finish: verify the image and choose it for the next boot."""
        error = self._ota.end()
        self._client.close()
        if error == OK and self._state is _State.SUCCESS:
            error = self._ota.set_boot(self.slot.slot or "")
            if error != OK:
                self._error(f"esp_ota_set_boot_partition failed! err={error}")
        if error != OK:
            raise CommandError(error)

    def abort(self) -> None:
        """esp_https_ota_abort: what is in the slot stays there, the next boot is what it was."""
        if self.opened:
            self._ota.abort()
        self._client.close()

    def _error(self, text: str) -> None:
        self._ota.log.line("E", TAG, text)

    def _failed(self, line: str, text: str | None = None) -> CommandError:
        self._error(line)
        return CommandError("ESP_FAIL", text or line)
