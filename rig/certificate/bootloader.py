"""The link between build and qualification: whether tests ran on the very bootloader that ships.

The bench qualifies with its own test app on the bootloaders of its own builds. What it finds holds for the shipped
bootloader only if that is the same file, byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rig.certificate.gate_report import WATCHED, GateReport
from rig.certificate.records import BoardTests, Note, Part, Release
from rig.evidence.firmware_facts import BOOTLOADER, plain_rollback
from rig.evidence.records import RunRecord, TestResult, Verdict
from rig.gate.check import Status


def board_tests(release: Release, run: RunRecord) -> list[BoardTests]:
    """One for each board that has results, in the order in which they first appear."""
    boards: dict[str, list[TestResult]] = {}
    for result in run.results:
        boards.setdefault(result.board, []).append(result)
    return [_of_board(release, results) for results in boards.values()]


def _of_board(release: Release, results: Sequence[TestResult]) -> BoardTests:
    same = other = variants = unknown = 0
    for result in results:
        if result.verdict is Verdict.SKIPPED:
            continue
        said = result.firmware.get(BOOTLOADER)
        if said is None:
            unknown += 1
        elif (sha256 := plain_rollback(said)) is None:
            variants += 1
        elif sha256 == release.bootloader_sha256:
            same += 1
        else:
            other += 1
    name, kind, chip = results[0].board, results[0].kind, results[0].chip
    verdict = Verdict.INCONCLUSIVE
    if kind == "virtual":
        text = "a simulated chip: it ran the bench's own model of the bootloader, which is NOT the shipped bootloader"
    elif chip != release.chip:
        text = f"another chip than the build's, {release.chip}: its bootloader is NOT the shipped bootloader"
    elif other:
        text = f"NOT the shipped bootloader: {other} of {same + other} tests of plain rollback ran on another one"
    elif not same:
        text = "no test of plain rollback says on which bootloader it ran"
    elif release.synthesised:
        text = "the same file as in the build, but it was made by the bench and holds no machine code"
    else:
        verdict = Verdict.PASS
        text = f"all {same} tests of plain rollback ran on the shipped bootloader, byte by byte (SHA-256)"
    if kind != "virtual" and variants:
        text += f"; {variants} tests bring the bootloader of another build variant"
    return BoardTests(
        board=name, kind=kind, chip=chip, same=same, other=other, variants=variants, unknown=unknown,
        verdict=verdict, text=text,
    )  # fmt: skip


def bootloader_part(release: Release, run: RunRecord, boards: Sequence[BoardTests], gate: GateReport) -> Part:
    """Pass if one board qualified the very bootloader; if tests were spread over boards, none may have had another."""
    good = [board.board for board in boards if board.verdict is Verdict.PASS]
    if good and (not run.spread or not any(board.other for board in boards)):
        text = f"the shipped bootloader is, byte by byte, the one that was qualified on {', '.join(good)}"
        return Part(name="bootloader", verdict=Verdict.PASS, text=text)
    if release.bootloader_sha256 is None:
        why = "the build has no bootloader.bin"
    elif release.synthesised:
        why = "bootloader.bin was made by the bench for virtual boards and holds no machine code: no chip runs it"
    elif good:
        why = f"the tests were spread over boards, and {', '.join(good)} alone ran the shipped bootloader"
    else:
        why = "no board was qualified with the shipped bootloader"
    return Part(name="bootloader", verdict=Verdict.INCONCLUSIVE, text=f"{why}; {_watched(gate)}")


def _watched(gate: GateReport) -> str:
    check = gate.check(WATCHED)
    if check is not None and check.status is Status.PASSED and gate.board is not None:
        return f"the gate saw it boot, no more than that: {check.found}"
    return "the gate did not see it boot either"


def bootloader_notes(boards: Sequence[BoardTests], part: Part) -> Iterator[Note]:
    """The link if it is not there, and what each board's tests leave open."""
    if part.verdict is not Verdict.PASS:
        yield Note(about="bootloader", text=part.text)
    for board in boards:
        yield Note(about="bootloader", text=f"{board.board}: {board.text}")
        if board.unknown:
            text = f"{board.board}: {board.unknown} results do not name the bootloader they ran on"
            yield Note(about="bootloader", text=text)
