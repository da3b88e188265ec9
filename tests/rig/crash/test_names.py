"""Names of crash images: what is printed can be typed again, and nothing else is taken for a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.crash.names import Cut, Name, parse
from rig.crash.torn import forms
from rig.errors import UserError
from rig.idf.effects import Erase, Program
from tests.rig.crash.hand import examples

FORMS = sorted(
    {form for mutation in (Erase(0), Program(0, bytes(32))) for fine in (True, False) for form in forms(mutation, fine)}
)
CUTS = st.builds(Cut, st.integers(0, 9_999_999), st.sampled_from(["", *FORMS]))
NAMES = st.builds(Name, st.from_regex(r"[a-z][a-z0-9.-]*", fullmatch=True), st.lists(CUTS, min_size=1).map(tuple))
NEARLY = st.from_regex(
    r"(update-ok|)/m[0-9\u0660\u0661]{3,8}(/torn-[a-z]{1,3}-[0-9\u0661]{1,2})?(/then/m[01]{3,6})?", fullmatch=True
)


@given(NAMES)
@examples(100)
def test_every_name_that_is_printed_is_understood(name: Name) -> None:
    assert parse(str(name)) == name


@given(NEARLY)
@examples(100)
def test_what_is_understood_is_printed_the_same(text: str) -> None:
    try:
        name = parse(text)
    except UserError:
        return
    assert str(name) == text


def test_the_documented_examples() -> None:
    assert parse("update-ok/m0412") == Name("update-ok", (Cut(412),))
    assert parse("update-ok/m0412/torn-erase-3") == Name("update-ok", (Cut(412, "torn-erase-3"),))
    assert parse("rollback/m0412/torn-program-word-6/then/m0002/torn-erase-tail-16") == Name(
        "rollback", (Cut(412, "torn-program-word-6"), Cut(2, "torn-erase-tail-16"))
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "update-ok",
        "update-ok/",
        "/m0001",
        "update-ok/m1",
        "update-ok/m001",
        "update-ok/0001",
        "update-ok/M0001",
        "update-ok/m-001",
        "update-ok/m00412",
        "update-ok/m٠٤١٢",
        "update-ok/m0001 ",
        "update-ok/m0001\n",
        "update-ok/m0001/",
        "update-ok/m0001/torn",
        "update-ok/m0001/torn-erase",
        "update-ok/m0001/erase-3",
        "update-ok/m0001/torn-erase-x",
        "update-ok/m0001/torn-erase--3",
        "update-ok/m0001/m0002",
        "update-ok/m0001/then",
        "update-ok/m0001/then/",
        "update-ok/then/m0001",
        "update-ok/m0001/then/torn-erase-3",
        "update-ok/m0001/then//then/m0001",
        "more/parts/m0001",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(text)
    assert repr(text) in refused.value.what
    assert refused.value.hint is not None
    assert "update-ok/m0412/torn-erase-3" in refused.value.hint
