"""A small NBD server: a block device of this process for QEMU (and for any NBD client), over a unix socket.

nbdkit would not do: it is no Python package, and its Python plugin runs in a process of its own, bound to the system's
Python, while here each program and erase must be decided on in this process before it is answered.

Fixed newstyle handshake and simple replies as in the protocol's specification (NetworkBlockDevice/nbd, doc/proto.md).
`Session` is pure, bytes in and bytes out; `rig.emulator.nbd_server` gives it sockets.
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple, Protocol

NBD_MAGIC = 0x4E42444D41474943  # "NBDMAGIC"
OPTION_MAGIC = 0x49484156454F5054  # "IHAVEOPT"
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
SIMPLE_REPLY_MAGIC = 0x67446698

FLAG_FIXED_NEWSTYLE = 1
FLAG_NO_ZEROES = 2

OPT_EXPORT_NAME = 1
OPT_ABORT = 2
OPT_LIST = 3
OPT_INFO = 6
OPT_GO = 7

REP_ACK = 1
REP_SERVER = 2
REP_INFO = 3
REP_ERR_UNSUP = 0x80000001
REP_ERR_INVALID = 0x80000003
REP_ERR_UNKNOWN = 0x80000006
REP_ERR_TOO_BIG = 0x80000009

INFO_EXPORT = 0
INFO_NAME = 1
INFO_BLOCK_SIZE = 3

CMD_READ = 0
CMD_WRITE = 1
CMD_DISC = 2
CMD_FLUSH = 3
CMD_TRIM = 4
CMD_WRITE_ZEROES = 6
CMD_FLAG_FUA = 1
CMD_FLAG_NO_HOLE = 2

HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES = 1, 1 << 2, 1 << 3, 1 << 5, 1 << 6
EXPORT_FLAGS = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES
"""No CAN_MULTI_CONN: a second connection is served, but nothing is promised about what it sees."""

# QEMU rounds to 512 bytes unless told that single bytes are fine; page programs then arrive as they are made.
MIN_BLOCK, PREFERRED_BLOCK = 1, 4096
MAX_TRANSFER = 32 << 20
MAX_OPTION = 64 << 10

_OPTION = struct.Struct(">QII")
_OPTION_REPLY = struct.Struct(">QIII")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")


class Store(Protocol):
    """What is served. Offsets and sizes in bytes, always inside `size`.

    An OSError becomes an error reply; any other exception ends the session without an answer.
    """

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes: ...

    def write(self, offset: int, data: bytes) -> None:
        """Done when it returns: there is no cache, so a flush and FUA have nothing to do."""


class ProtocolError(Exception):
    """The client did what no answer exists for; the connection must be closed."""


class _Need(Exception):
    """More bytes are needed first."""


class Request(NamedTuple):
    """One command; `data` belongs to a write."""

    flags: int
    type: int
    handle: int
    offset: int
    length: int
    data: bytes


class Session:
    """One connection: `greeting` first, then everything received goes into `receive`, whose result is sent.

    `closed` says that the client said good-bye; ProtocolError that it must be dropped.
    """

    def __init__(self, store: Store) -> None:
        self.closed = False
        self.transmitting = False
        self._store = store
        self._input = bytearray()
        self._hello = False
        self._fixed = False
        self._zeroes = True

    def greeting(self) -> bytes:
        """What the server says first."""
        return struct.pack(">QQH", NBD_MAGIC, OPTION_MAGIC, FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)

    def receive(self, data: bytes) -> bytes:
        """Handle every message that is complete now; the answers, in order."""
        self._input += data
        answers = []
        try:
            while not self.closed:
                answers.append(self._next())
        except _Need:
            pass
        return b"".join(answers)

    def _next(self) -> bytes:
        if self.transmitting:
            return self._serve(self._take_request())
        if not self._hello:
            return self._greet()
        return self._negotiate()

    def _peek(self, size: int) -> memoryview:
        if len(self._input) < size:
            raise _Need
        return memoryview(bytes(self._input[:size]))

    def _drop(self, size: int) -> None:
        del self._input[:size]

    # --- handshake -------------------------------------------------------------------------------------------------

    def _greet(self) -> bytes:
        (flags,) = struct.unpack(">I", self._peek(4))
        if flags & ~(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES):
            raise ProtocolError(f"unknown client flags {flags:#x}")
        self._fixed = bool(flags & FLAG_FIXED_NEWSTYLE)
        self._zeroes = not flags & FLAG_NO_ZEROES
        self._hello = True
        self._drop(4)
        return b""

    def _negotiate(self) -> bytes:
        magic, option, length = _OPTION.unpack(self._peek(_OPTION.size))
        if magic != OPTION_MAGIC:
            raise ProtocolError(f"option magic is {magic:#x}")
        if length > MAX_OPTION:
            raise ProtocolError(f"option {option} with {length} bytes of data")
        if option != OPT_EXPORT_NAME and not self._fixed:
            raise ProtocolError(f"option {option} without the fixed newstyle flag")
        data = bytes(self._peek(_OPTION.size + length)[_OPTION.size :])
        self._drop(_OPTION.size + length)
        if option == OPT_EXPORT_NAME:
            return self._export_name(data)
        if option == OPT_ABORT:
            self.closed = True
            return _option_reply(option, REP_ACK)
        if option == OPT_LIST:
            return self._list(data)
        if option in (OPT_INFO, OPT_GO):
            return self._info(option, data)
        return _option_reply(option, REP_ERR_UNSUP, b"not supported by this server")

    def _export_name(self, name: bytes) -> bytes:
        if name:
            raise ProtocolError(f"no export is called {name[:40]!r}; the only one has the empty name")
        self.transmitting = True
        return struct.pack(">QH", self._store.size, EXPORT_FLAGS) + (b"\0" * 124 if self._zeroes else b"")

    def _list(self, data: bytes) -> bytes:
        if data:
            return _option_reply(OPT_LIST, REP_ERR_INVALID, b"LIST takes no data")
        return _option_reply(OPT_LIST, REP_SERVER, struct.pack(">I", 0)) + _option_reply(OPT_LIST, REP_ACK)

    def _info(self, option: int, data: bytes) -> bytes:
        wanted = _parse_info(data)
        if wanted is None:
            return _option_reply(option, REP_ERR_INVALID, b"lengths inside the option do not fit")
        name, infos = wanted
        if name:
            return _option_reply(option, REP_ERR_UNKNOWN, b"the only export has the empty name")
        answer = _option_reply(option, REP_INFO, struct.pack(">HQH", INFO_EXPORT, self._store.size, EXPORT_FLAGS))
        if INFO_NAME in infos:
            answer += _option_reply(option, REP_INFO, struct.pack(">H", INFO_NAME))
        if INFO_BLOCK_SIZE in infos:
            sizes = struct.pack(">HIII", INFO_BLOCK_SIZE, MIN_BLOCK, PREFERRED_BLOCK, MAX_TRANSFER)
            answer += _option_reply(option, REP_INFO, sizes)
        self.transmitting = option == OPT_GO
        return answer + _option_reply(option, REP_ACK)

    # --- transmission ----------------------------------------------------------------------------------------------

    def _take_request(self) -> Request:
        magic, flags, kind, handle, offset, length = _REQUEST.unpack(self._peek(_REQUEST.size))
        if magic != REQUEST_MAGIC:
            raise ProtocolError(f"request magic is {magic:#x}")
        if kind != CMD_WRITE:
            self._drop(_REQUEST.size)
            return Request(flags, kind, handle, offset, length, b"")
        if length > MAX_TRANSFER:
            raise ProtocolError(f"write of {length} bytes; at most {MAX_TRANSFER} were agreed on")
        data = bytes(self._peek(_REQUEST.size + length)[_REQUEST.size :])
        self._drop(_REQUEST.size + length)
        return Request(flags, kind, handle, offset, length, data)

    def _serve(self, request: Request) -> bytes:
        if request.type == CMD_DISC:
            self.closed = True
            return b""
        try:
            data = self._do(request)
        except OSError as error:
            return _REPLY.pack(SIMPLE_REPLY_MAGIC, error.errno or errno.EIO, request.handle)
        return _REPLY.pack(SIMPLE_REPLY_MAGIC, 0, request.handle) + data

    def _do(self, request: Request) -> bytes:
        allowed = CMD_FLAG_FUA | (CMD_FLAG_NO_HOLE if request.type == CMD_WRITE_ZEROES else 0)
        if request.flags & ~allowed:
            raise OSError(errno.EINVAL, "unknown command flag")
        inside = request.offset + request.length <= self._store.size
        if request.type == CMD_READ:
            if not inside or request.length > MAX_TRANSFER:
                raise OSError(errno.EINVAL, "read past the end")
            return self._store.read(request.offset, request.length)
        if request.type in (CMD_WRITE, CMD_WRITE_ZEROES):
            if not inside:
                raise OSError(errno.ENOSPC, "write past the end")
            self._store.write(request.offset, request.data if request.type == CMD_WRITE else bytes(request.length))
        elif request.type == CMD_TRIM:
            # Advice that may be ignored, and is: flash has nothing to discard.
            if not inside:
                raise OSError(errno.EINVAL, "trim past the end")
        elif request.type != CMD_FLUSH or request.offset or request.length:
            raise OSError(errno.EINVAL, "unknown or malformed command")
        return b""


def _option_reply(option: int, kind: int, data: bytes = b"") -> bytes:
    return _OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, kind, len(data)) + data


def _parse_info(data: bytes) -> tuple[bytes, tuple[int, ...]] | None:
    """Export name and information requests of NBD_OPT_INFO and NBD_OPT_GO; None if the lengths do not fit."""
    if len(data) < 6:
        return None
    (length,) = struct.unpack_from(">I", data)
    if len(data) < 4 + length + 2:
        return None
    name = data[4 : 4 + length]
    (count,) = struct.unpack_from(">H", data, 4 + length)
    rest = data[4 + length + 2 :]
    if len(rest) != 2 * count:
        return None
    return name, struct.unpack(f">{count}H", rest)
