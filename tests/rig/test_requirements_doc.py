"""`rig requirements` and the committed docs/requirements.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from rig.cli import main
from tests.rig.project import ROOT, small_project

DOCUMENT = ROOT / "docs" / "requirements.md"
COMMAND = "rig requirements --output docs/requirements.md"
TESTS = """\
import pytest

@pytest.mark.requirement("A-1", "The board boots.")
def test_boot(): ...

@pytest.mark.requirement("A-1", "The board boots.")
def test_boot_again(): ...
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return small_project(tmp_path, monkeypatch, "test_area.py", TESTS)


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["requirements", *arguments])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return result.stderr


def test_the_committed_document_is_what_the_tests_carry(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, ["requirements", "--output", str(tmp_path / "requirements.md")])
    assert result.exit_code == 0, result.output
    now = (tmp_path / "requirements.md").read_text(encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == now, f"docs/requirements.md is out of date; renew it with: {COMMAND}"


def test_without_a_file_it_is_printed(project):
    result = CliRunner().invoke(main, ["requirements"])
    assert result.exit_code == 0, result.output
    assert "1 requirements, each with at least one test." in result.stdout
    where = "tests/qualification/test_area.py"
    assert f"| A-1 | The board boots. | `test_boot` in {where}<br>`test_boot_again` in {where} |" in result.stdout


def test_tests_that_cannot_be_read_renew_nothing(project):
    (project / "tests" / "qualification" / "test_broken.py").write_text("def test_broken(:\n")
    document = project / "requirements.md"
    document.write_text("as it was")
    said = refused("--output", str(document))
    assert "pytest cannot collect" in said
    assert "test_broken.py" in said
    assert document.read_text() == "as it was"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[requirement]\n", "uncovered.toml: "),
        ("", "uncovered.toml: 'requirement'"),
        ('[[requirement]]\nid = "B-1"\n', "area"),
        ("requirement = 3\n", "uncovered.toml: "),
        ('[[requirement]]\nid = "A-1"\narea = "x"\ntext = "Has a test by now."\n', "requirement id used twice: A-1"),
    ],
    ids=["torn", "empty", "a key missing", "wrong type", "covered by now"],
)
def test_a_broken_list_of_what_is_uncovered_is_refused(project, text, said):
    (project / "tests" / "qualification" / "uncovered.toml").write_text(text)
    assert said in refused()


def test_a_document_that_cannot_be_written_is_refused(project):
    said = refused("--output", str(project / "absent" / "requirements.md"))
    assert "absent/requirements.md: cannot be written: No such file or directory" in said
