"""A release build, a gate's report and a run's report, as a certificate is made of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rig import gate_command
from rig.certificate import tools
from rig.certificate.artefacts import read_release
from rig.certificate.folder import Material, write_certificate
from rig.certificate.gate_report import GateReport
from rig.certificate.records import Certificate, Facts, Release, SignOff
from rig.evidence.records import Requirement, RunRecord, TestResult, Verdict
from rig.evidence.report import write_report
from rig.gate import report
from rig.gate.pieces import load_pieces
from rig.idf.image import build_bootloader
from rig.virtual.builds import make_build

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BENCH = '[[board]]\nname = "desk"\nkind = "serial"\nchip = "esp32c3"\nport = "/dev/ttyUSB0"\n'


def release_build(folder: Path, *, version: str = "2.0.0", by_the_bench: bool = False, **more: Any) -> Path:
    """A build directory whose bootloader looks like ESP-IDF's, or is one that the bench makes for virtual boards."""
    build = make_build(folder, variant="rollback", chip="esp32c3", version=version, **more)
    if not by_the_bench:
        image = build_bootloader(
            chip="esp32c3", idf_version="v5.5", data=bytes(64), code=bytes(range(256)) * 64, flash_size="4MB"
        )
        (build / "bootloader" / "bootloader.bin").write_bytes(image)
    return build


def gate_of(build: Path, **accepts: str) -> dict[str, Any]:
    """What `rig gate --json` says of it without a board."""
    texts = [f"{name.replace('_', '-')}={reason}" for name, reason in accepts.items()]
    asked = gate_command.Asked(build, None, "0", texts, False, None, Path("rig.toml"))
    return report.plain(gate_command.look(asked))


def gate_report(**statuses: str) -> GateReport:
    """A report of three checks, all passed but for those named."""
    names = ("GATE_ROLLBACK", "GATE_ROLLBACK_WATCHED", "GATE_HTTP")
    checks = [
        {"id": name.replace("_", "-"), "title": name, "status": statuses.get(name, "passed"), "found": "seen",
         "accepted": statuses.get(f"{name}_accepted")}
        for name in names
    ]  # fmt: skip
    return GateReport.model_validate(
        {"format": "rig-gate", "version": 1, "previous": "old", "board": "qemu-c3", "checks": checks}
    )


def result(name: str, verdict: str = "pass", *, board: str = "desk", bootloader: str | None = None, **more: Any) -> Any:
    """One test of the requirement of its name; `bootloader`: variant and hash, as a trial notes them."""
    given = {"kind": "serial", "chip": "esp32c3", "duration_s": 1.0, "started": AT, **more}
    firmware = {} if bootloader is None else {"project": "rig_test_app", "bootloader": bootloader}
    return TestResult(
        test=f"tests/qualification/test_x.py::test_{name}", requirements=[name], board=board, verdict=Verdict(verdict),
        firmware=firmware, **given,
    )  # fmt: skip


def run_of(results: Sequence[TestResult], **more: Any) -> RunRecord:
    names = list(dict.fromkeys(name for each in results for name in each.requirements))
    return RunRecord(
        tool="rollback-rig", started=AT, finished=AT, command="rig qualify", results=list(results),
        requirements=[Requirement(id=name, area="boot", text=f"Sentence {name}.") for name in names], **more,
    )  # fmt: skip


def facts_of(release: Release, **more: Any) -> Facts:
    known = {"rig commit": "abc", tools.RIG_SOURCES: tools.sources_sha256()}
    return Facts(
        tool="rollback-rig", release=release, signoff=SignOff(name="Ada L.", at=AT, host="lab"), tools=known, **more
    )


def release_of(build: Path) -> Release:
    return read_release(load_pieces(build))


def qualified(build: Path) -> list[TestResult]:
    """Results of tests that passed on the very bootloader of the build."""
    sha256 = release_of(build).bootloader_sha256
    return [result(name, bootloader=f"rollback {sha256}") for name in ("A-1", "A-2")]


def report_folder(folder: Path, run: RunRecord, files: dict[str, bytes] | None = None) -> Path:
    write_report(run, folder)
    for name, data in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def material_of(
    build: Path, report: Path, *, bench: str = BENCH, gate: dict[str, Any] | None = None, **more: Any
) -> Material:
    return Material(
        facts=facts_of(release_of(build)), gate=gate_of(build) if gate is None else gate, report=report, build=build,
        bench=bench, packages="pytest==1\n", **more,
    )  # fmt: skip


def certify(folder: Path, build: Path, results: Sequence[TestResult], **more: Any) -> tuple[Path, Certificate]:
    """Write a certificate into `folder`/certificates."""
    report = report_folder(folder / "report", run_of(results), {"tests/desk/a/console.log": b"boot\n"})
    return write_certificate(material_of(build, report, **more), folder / "certificates")


def copy_of(folder: Path, target: Path) -> Path:
    return shutil.copytree(folder, target, symlinks=True)


def rewrite(folder: Path, name: str, change: Any) -> None:
    """Change a JSON file of a certificate."""
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))
