"""What the bench knows of flash is never guessed, and what it gathers stands in the order of the console log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.boards.console import Chunk
from rig.errors import Inconclusive
from rig.evidence.app_calls import AppCall
from rig.evidence.witnesses import KnownFlash, Witnesses

SIZE = 48
places = st.integers(0, SIZE)
spans = st.tuples(places, places)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("unknown"), places, places),
        st.tuples(st.just("known"), places, st.binary(max_size=12)),
    ),
    max_size=8,
)


def replay(content, changes):
    """The same changes on the class under test, and on a plain list of bytes in which None is not known."""
    flash, model = KnownFlash(content), [*content, *[0xFF] * (2 * SIZE - len(content))]
    for what, start, rest in changes:
        if what == "unknown":
            flash = flash.with_unknown(start, rest)
            model[start:rest] = [None] * max(0, rest - start)
        else:
            flash = flash.with_known(start, rest)
            model[start : start + len(rest)] = rest
    return flash, model


@given(st.binary(max_size=SIZE), steps, places, st.integers(0, SIZE))
def test_reading_raises_exactly_when_an_unknown_byte_is_touched(content, changes, offset, size):
    flash, model = replay(content, changes)
    wanted = model[offset : offset + size]
    if None in wanted:
        with pytest.raises(Inconclusive, match="not known"):
            flash.read(offset, size)
    else:
        assert flash.read(offset, size) == bytes(wanted)


@given(places, places)
def test_reading_nothing_touches_nothing(offset, length):
    assert KnownFlash(b"x" * SIZE).with_unknown(0, SIZE).read(offset, 0) == b""
    assert KnownFlash(b"x" * SIZE).with_unknown(offset, offset).read(0, length) == b"x" * length


@given(st.binary(max_size=SIZE), steps)
def test_the_unknown_ranges_cover_the_unknown_bytes_and_nothing_else(content, changes):
    flash, model = replay(content, changes)
    covered = {place for start, end in flash.unknown for place in range(start, end)}
    assert covered == {place for place, byte in enumerate(model) if byte is None}
    assert all(start < end for start, end in flash.unknown)


@given(st.binary(min_size=SIZE, max_size=SIZE), spans, places, st.binary(max_size=12))
def test_a_change_leaves_the_earlier_knowledge_as_it_was(content, span, offset, data):
    before = KnownFlash(content)
    before.with_unknown(*span).with_known(offset, data)
    assert before.unknown == ()
    assert before.read(0, SIZE) == content


def test_behind_the_known_content_flash_is_erased():
    assert KnownFlash(b"ab").read(1, 3) == b"b\xff\xff"
    assert KnownFlash(b"ab").with_known(4, b"z").read(0, 6) == b"ab\xff\xffz\xff"


def test_the_message_says_which_range_is_not_known_and_what_to_do():
    with pytest.raises(Inconclusive, match=r"flash 0x110000 to 0x210000 is not known[\s\S]*read it back before"):
        KnownFlash(b"").with_unknown(0x110000, 0x210000).read(0x110000, 4)


class Log:
    """A console that has received chunks."""

    def __init__(self):
        self.all = []

    def say(self, data):
        self.all.append(Chunk(float(len(self.all)), data))

    @property
    def position(self):
        return sum(len(chunk.data) for chunk in self.all)

    def chunks_since(self, position):
        found, end = [], 0
        for chunk in self.all:
            if end >= position:
                found.append(chunk)
            end += len(chunk.data)
        return found


@pytest.fixture
def log():
    return Log()


def test_positions_count_from_the_beginning_of_the_trial(log):
    log.say(b"an earlier trial")
    witnesses = Witnesses(log)
    assert witnesses.position == 0
    log.say(b"12345")
    witnesses.mark("power off")
    log.say(b"67")
    witnesses.sample("flash", (b"a" * 32, b"b" * 32))
    witnesses.know(KnownFlash(b"x"))
    assert [(mark.position, mark.what) for mark in witnesses.marks] == [(5, "power off")]
    assert [(sample.position, sample.source) for sample in witnesses.samples] == [(7, "flash")]
    assert [position for position, _ in witnesses.flash] == [7]
    assert b"".join(chunk.data for chunk in witnesses.chunks) == b"1234567"


def test_the_last_knowledge_of_flash_counts(log):
    witnesses = Witnesses(log)
    witnesses.know(KnownFlash(b"first"))
    witnesses.know(KnownFlash(b"then"))
    assert witnesses.known.read(0, 4) == b"then"


def test_beginning_anew_forgets_everything_but_the_time(log):
    witnesses = Witnesses(log)
    began = witnesses.began
    log.say(b"old")
    witnesses.mark("reset line")
    witnesses.sample("installed", (b"", b""))
    witnesses.know(KnownFlash(b""))
    witnesses.calls.append(AppCall("confirm", 0, "ota_0"))
    witnesses.begin()
    log.say(b"new")
    assert (witnesses.marks, witnesses.samples, witnesses.flash, witnesses.calls) == ([], [], [], [])
    assert [chunk.data for chunk in witnesses.chunks] == [b"new"]
    assert (witnesses.position, witnesses.began) == (3, began)


def test_times_of_marks_and_samples_never_run_backwards(log):
    witnesses = Witnesses(log)
    witnesses.mark("power off")
    witnesses.sample("flash", (b"", b""))
    witnesses.mark("power on")
    times = [witnesses.began, witnesses.marks[0].time, witnesses.samples[0].time, witnesses.marks[1].time]
    assert times == sorted(times)
