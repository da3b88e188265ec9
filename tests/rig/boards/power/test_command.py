"""Power by command lines: run as written, waited for, and believed only when they succeed."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from rig.boards.power import command
from rig.boards.power.command import CommandPower, command_words
from rig.errors import BenchFault, UserError
from tests.rig.boards.wires import wait_until


def python(code: str) -> str:
    """A command line that runs this code."""
    return shlex.join([sys.executable, "-c", code])


def switch(on: str = "true", off: str = "true", timeout: float = 60) -> CommandPower:
    return CommandPower("bench-board", on, off, timeout)


def test_on_and_off_run_their_own_commands_with_their_arguments_as_quoted(tmp_path):
    note = tmp_path / "note"
    say = f"import json, sys; open({str(note)!r}, 'a').write(json.dumps(sys.argv[1:]) + chr(10))"
    power = switch(python(say) + " on 'two words' $HOME", python(say) + " off '*'")
    power.off()
    power.on()
    assert [json.loads(line) for line in note.read_text().splitlines()] == [["off", "*"], ["on", "two words", "$HOME"]]


def test_nothing_is_run_before_it_is_asked_for(tmp_path):
    switch(python(f"open({str(tmp_path / 'touched')!r}, 'w')"))
    assert os.listdir(tmp_path) == []


def test_a_command_that_fails_is_a_bench_fault_with_what_it_said():
    with pytest.raises(BenchFault) as caught:
        switch(off=python("import sys; print('hub 1-1'); sys.exit('no such port')")).off()
    text = str(caught.value)
    assert text.startswith("the command that switches power off failed with exit code 1 (board bench-board)")
    assert {"hub 1-1", "no such port"} <= set(text.splitlines())
    assert "try: run it by hand: " in text


def test_a_command_that_says_nothing_and_dies_of_a_signal_is_named():
    with pytest.raises(BenchFault, match=r"was ended by signal 9 \(SIGKILL\)[\s\S]*it said nothing"):
        switch(python("import os; os.kill(os.getpid(), 9)")).on()


def test_of_much_output_the_end_is_shown_and_bytes_that_are_no_text_do_not_matter():
    code = "import sys; sys.stdout.buffer.write(b'begin' + b'x' * 5000 + bytes([0xff]) + b'the end'); sys.exit(1)"
    with pytest.raises(BenchFault) as caught:
        switch(python(code)).on()
    assert "the end" in str(caught.value)
    assert "begin" not in str(caught.value.evidence)


def test_a_command_that_does_not_end_is_killed_with_all_it_started(tmp_path):
    pid = tmp_path / "pid"
    code = f"sleep 600 & echo $! > {shlex.quote(str(pid))}; echo waiting for the relay; wait"
    with pytest.raises(BenchFault, match=r"did not end within 2 s[\s\S]*waiting for the relay"):
        switch(shlex.join(["sh", "-c", code]), timeout=2).on()
    wait_until(lambda: is_over(int(pid.read_text())), "what it had started was over")


def is_over(pid: int) -> bool:
    """Whether a process is over; one that only waits for its parent's notice is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_command_that_leaves_something_running_is_not_waited_for_longer_than_itself(tmp_path):
    pid = tmp_path / "pid"
    switch(shlex.join(["sh", "-c", f"sleep 600 & echo $! > {shlex.quote(str(pid))}"])).on()
    left = int(pid.read_text())
    assert not is_over(left)
    os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no-such-program --on", "cannot be started: .*No such file"),
        ("/etc/passwd", "cannot be started: .*Permission denied"),
        ("echo 'on", "No closing quotation"),
        ("   ", "empty command line"),
        ("echo \0", "cannot be started"),
    ],
)
def test_what_is_no_command_is_a_user_error_that_shows_the_line(line, said):
    with pytest.raises(UserError, match=said) as caught:
        switch(on=line).on()
    assert "bench-board" in str(caught.value)


def test_the_words_are_those_a_shell_would_make():
    assert command_words("""curl -d '{"a": 1}' http://x/ "y z" """, "b") == [
        "curl",
        "-d",
        '{"a": 1}',
        "http://x/",
        "y z",
    ]


def test_the_docstring_begins_with_an_example_that_rig_toml_takes():
    import tomllib

    from rig.boards.inventory import BenchConfig

    lines = command.__doc__.split("::", 1)[1].split("\n\n")[1]
    config = BenchConfig.model_validate(tomllib.loads("\n".join(line.strip() for line in lines.splitlines())))
    assert config.board[0].power.off.startswith("uhubctl")
