"""The NBD protocol, without sockets."""

from __future__ import annotations

import contextlib
import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.emulator import nbd
from rig.emulator.nbd import ProtocolError, Session

SIZE = 4096


class Bytes:
    """The simplest store there is."""

    size = SIZE

    def __init__(self) -> None:
        self.content = bytearray(SIZE)
        self.error: OSError | None = None

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        assert offset + len(data) <= SIZE
        self.content[offset : offset + len(data)] = data


def option(number: int, data: bytes = b"") -> bytes:
    return struct.pack(">QII", nbd.OPTION_MAGIC, number, len(data)) + data


def go(name: bytes = b"", *infos: int, number: int = nbd.OPT_GO) -> bytes:
    return option(number, struct.pack(f">I{len(name)}sH{len(infos)}H", len(name), name, len(infos), *infos))


def request(kind: int, offset: int = 0, length: int = 0, data: bytes = b"", flags: int = 0, handle: int = 1) -> bytes:
    return struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, flags, kind, handle, offset, length) + data


def write(offset: int, data: bytes, flags: int = 0, handle: int = 1) -> bytes:
    return request(nbd.CMD_WRITE, offset, len(data), data, flags, handle)


def option_replies(answer: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    while answer:
        magic, number, kind, length = struct.unpack_from(">QIII", answer)
        assert magic == nbd.OPTION_REPLY_MAGIC
        found.append((number, kind, answer[20 : 20 + length]))
        answer = answer[20 + length :]
    return found


def reply(answer: bytes) -> tuple[int, int, bytes]:
    magic, error, handle = struct.unpack_from(">IIQ", answer)
    assert magic == nbd.SIMPLE_REPLY_MAGIC
    return error, handle, answer[16:]


@pytest.fixture
def store() -> Bytes:
    return Bytes()


@pytest.fixture
def greeted(store: Bytes) -> Session:
    session = Session(store)
    assert session.receive(struct.pack(">I", 3)) == b""
    return session


@pytest.fixture
def session(greeted: Session) -> Session:
    greeted.receive(go())
    assert greeted.transmitting
    return greeted


def test_the_greeting_offers_the_fixed_newstyle_handshake(store: Bytes) -> None:
    assert Session(store).greeting() == b"NBDMAGICIHAVEOPT\x00\x03"


def test_go_tells_size_and_flags_and_starts_transmission(greeted: Session) -> None:
    replies = option_replies(greeted.receive(go()))
    assert replies == [
        (nbd.OPT_GO, nbd.REP_INFO, struct.pack(">HQH", 0, SIZE, nbd.EXPORT_FLAGS)),
        (nbd.OPT_GO, nbd.REP_ACK, b""),
    ]
    assert greeted.transmitting


def test_several_connections_are_not_promised_to_agree() -> None:
    assert not nbd.EXPORT_FLAGS & 1 << 8


def test_block_sizes_are_told_to_those_who_ask_so_that_qemu_rounds_nothing(greeted: Session) -> None:
    replies = option_replies(greeted.receive(go(b"", nbd.INFO_BLOCK_SIZE)))
    assert replies[1][2] == struct.pack(">HIII", 3, 1, 4096, 32 << 20)


def test_info_tells_the_same_but_starts_nothing(greeted: Session) -> None:
    replies = option_replies(greeted.receive(go(number=nbd.OPT_INFO)))
    assert [kind for _, kind, _ in replies] == [nbd.REP_INFO, nbd.REP_ACK]
    assert not greeted.transmitting


def test_an_unknown_export_is_refused_and_the_handshake_goes_on(greeted: Session) -> None:
    assert option_replies(greeted.receive(go(b"other")))[0][1] == nbd.REP_ERR_UNKNOWN
    assert not greeted.transmitting
    greeted.receive(go())
    assert greeted.transmitting


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", struct.pack(">IH", 9, 0), struct.pack(">IH", 0, 2)])
def test_an_info_request_whose_lengths_do_not_fit_is_invalid(greeted: Session, data: bytes) -> None:
    assert option_replies(greeted.receive(option(nbd.OPT_GO, data)))[0][1] == nbd.REP_ERR_INVALID


def test_list_names_the_one_export(greeted: Session) -> None:
    assert option_replies(greeted.receive(option(nbd.OPT_LIST))) == [
        (nbd.OPT_LIST, nbd.REP_SERVER, b"\0\0\0\0"),
        (nbd.OPT_LIST, nbd.REP_ACK, b""),
    ]
    assert option_replies(greeted.receive(option(nbd.OPT_LIST, b"x")))[0][1] == nbd.REP_ERR_INVALID


@given(number=st.integers(0, 2**32 - 1), data=st.binary(max_size=64))
def test_every_other_option_is_refused_by_name(number: int, data: bytes) -> None:
    if number in (nbd.OPT_EXPORT_NAME, nbd.OPT_ABORT, nbd.OPT_LIST, nbd.OPT_INFO, nbd.OPT_GO):
        return
    session = Session(Bytes())
    session.receive(struct.pack(">I", 3))
    [(answered, kind, _)] = option_replies(session.receive(option(number, data)))
    assert (answered, kind) == (number, nbd.REP_ERR_UNSUP)


def test_abort_is_acknowledged_and_ends_it(greeted: Session) -> None:
    assert option_replies(greeted.receive(option(nbd.OPT_ABORT))) == [(nbd.OPT_ABORT, nbd.REP_ACK, b"")]
    assert greeted.closed


@pytest.mark.parametrize(("flags", "padding"), [(3, 0), (1, 124)])
def test_the_old_way_to_name_an_export_works_with_and_without_padding(store: Bytes, flags: int, padding: int) -> None:
    session = Session(store)
    session.receive(struct.pack(">I", flags))
    answer = session.receive(option(nbd.OPT_EXPORT_NAME))
    assert answer == struct.pack(">QH", SIZE, nbd.EXPORT_FLAGS) + bytes(padding)
    assert session.transmitting


@pytest.mark.parametrize(
    "input_",
    [
        struct.pack(">I", 4),
        struct.pack(">I", 3) + b"\0" * 16,
        struct.pack(">I", 2) + option(nbd.OPT_LIST),
        struct.pack(">I", 3) + option(nbd.OPT_EXPORT_NAME, b"other"),
        struct.pack(">IQII", 3, nbd.OPTION_MAGIC, nbd.OPT_GO, 1 << 31),
        struct.pack(">I", 3) + go() + b"\0" * 28,
        struct.pack(">I", 3) + go() + struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, 0, nbd.CMD_WRITE, 1, 0, 1 << 31),
    ],
    ids=["flags", "option magic", "not fixed", "unknown name", "huge option", "request magic", "huge write"],
)
def test_what_has_no_answer_drops_the_connection(store: Bytes, input_: bytes) -> None:
    with pytest.raises(ProtocolError):
        Session(store).receive(input_)


def test_a_read_gives_what_was_written(session: Session, store: Bytes) -> None:
    assert reply(session.receive(write(100, b"flash", handle=5))) == (0, 5, b"")
    assert reply(session.receive(request(nbd.CMD_READ, 99, 7, handle=6))) == (0, 6, b"\0flash\0")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (request(nbd.CMD_READ, SIZE - 1, 2), errno.EINVAL),
        (request(nbd.CMD_READ, 2**64 - 1, 2**32 - 1), errno.EINVAL),
        (write(SIZE - 1, b"ab"), errno.ENOSPC),
        (write(2**63, b"ab"), errno.ENOSPC),
        (request(nbd.CMD_WRITE_ZEROES, 0, 2**32 - 1), errno.ENOSPC),
        (request(nbd.CMD_TRIM, SIZE, 1), errno.EINVAL),
        (request(nbd.CMD_FLUSH, 0, 1), errno.EINVAL),
        (request(99), errno.EINVAL),
        (write(0, b"a", flags=1 << 4), errno.EINVAL),
        (request(nbd.CMD_READ, 0, 1, flags=nbd.CMD_FLAG_NO_HOLE), errno.EINVAL),
    ],
)
def test_a_request_that_cannot_be_done_is_answered_with_why_and_changes_nothing(
    session: Session, store: Bytes, command: bytes, error: int
) -> None:
    assert reply(session.receive(command)) == (error, 1, b"")
    assert store.content == bytes(SIZE)
    assert reply(session.receive(request(nbd.CMD_READ, 0, 1)))[0] == 0


def test_flush_trim_fua_and_empty_requests_succeed(session: Session) -> None:
    for command in (
        request(nbd.CMD_FLUSH),
        request(nbd.CMD_TRIM, 0, SIZE),
        write(0, b"a", flags=nbd.CMD_FLAG_FUA),
        write(SIZE, b""),
        request(nbd.CMD_READ, SIZE, 0),
        request(nbd.CMD_WRITE_ZEROES, 0, 1, flags=nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA),
    ):
        assert reply(session.receive(command)) == (0, 1, b"")


def test_write_zeroes_writes_zeroes(session: Session, store: Bytes) -> None:
    session.receive(write(0, b"abcd"))
    session.receive(request(nbd.CMD_WRITE_ZEROES, 1, 2))
    assert store.content[:4] == b"a\0\0d"


def test_an_error_of_the_store_is_the_answer(session: Session, store: Bytes) -> None:
    store.error = OSError(errno.EIO, "worn out")
    assert reply(session.receive(write(0, b"a")))[0] == errno.EIO


def test_good_bye_has_no_answer(session: Session) -> None:
    assert session.receive(request(nbd.CMD_DISC)) == b""
    assert session.closed


WRITES = st.lists(
    st.tuples(st.integers(0, SIZE + 8), st.binary(max_size=600), st.sampled_from((0, nbd.CMD_FLAG_FUA))), max_size=12
)


@given(writes=WRITES, pieces=st.lists(st.integers(1, 700), min_size=1))
def test_any_writes_in_any_pieces_are_a_bytearray(writes: list[tuple[int, bytes, int]], pieces: list[int]) -> None:
    store, model = Bytes(), bytearray(SIZE)
    session = Session(store)
    stream = struct.pack(">I", 3) + go()
    expected = []
    for handle, (offset, data, flags) in enumerate(writes):
        stream += write(offset, data, flags, handle)
        fits = offset + len(data) <= SIZE
        if fits:
            model[offset : offset + len(data)] = data
        expected.append((0 if fits else errno.ENOSPC, handle))
    stream += request(nbd.CMD_READ, 0, SIZE, handle=999)
    answer, position, index = b"", 0, 0
    while position < len(stream):
        size = pieces[index % len(pieces)]
        answer += session.receive(stream[position : position + size])
        position, index = position + size, index + 1
    answer = answer[-(16 * len(writes) + 16 + SIZE) :]
    for error, handle in expected:
        assert reply(answer[:16]) == (error, handle, b"")
        answer = answer[16:]
    assert reply(answer) == (0, 999, bytes(model))


@given(garbage=st.binary(max_size=300), when=st.sampled_from((b"", struct.pack(">I", 3), struct.pack(">I", 3) + go())))
def test_garbage_is_answered_or_dropped_and_nothing_else(garbage: bytes, when: bytes) -> None:
    session = Session(Bytes())
    with contextlib.suppress(ProtocolError):
        session.receive(when + garbage)


@given(
    flags=st.integers(0, 0xFFFF),
    kind=st.integers(0, 9),
    offset=st.integers(0, 2**64 - 1) | st.integers(0, SIZE),
    length=st.integers(0, 2**32 - 1) | st.integers(0, SIZE),
)
def test_every_request_that_is_not_a_write_has_exactly_one_answer(
    flags: int, kind: int, offset: int, length: int
) -> None:
    if kind in (nbd.CMD_WRITE, nbd.CMD_DISC):
        return
    session = Session(Bytes())
    session.receive(struct.pack(">I", 3) + go())
    error, handle, data = reply(session.receive(request(kind, offset, length, flags=flags, handle=77)))
    assert handle == 77
    assert len(data) == (length if kind == nbd.CMD_READ and not error else 0)
