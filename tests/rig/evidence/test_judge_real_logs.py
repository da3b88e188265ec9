"""The judge over logs of unmodified firmware: log, otadata as the app printed it, and model agree in every boot.

The images are rebuilt with the versions of the log; they verify like the real ones did.
"""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest

from rig.evidence.boots import Boot, segment
from rig.evidence.events import AppInfo, OtadataReport
from rig.evidence.judge import ROLLBACK_OFF, BootEvidence, Judgement, judge
from rig.evidence.logparse import parse
from rig.evidence.predict import Entries
from rig.evidence.records import Verdict
from rig.idf.config import BootConfig
from rig.idf.image import build_image
from rig.idf.memory import FlashImage

LOGS = Path(__file__).parents[2] / "data" / "logs" / "qemu"
INDEX = {log["file"]: log for log in json.loads((LOGS / "index.json").read_text())["logs"]}
HEALTHY = [
    "rb_update_ok_autovalid.log",
    "rb_console_hang_while_pending.log",
    "rb_crash_after_valid_no_rollback.log",
    "rb_power_cut_during_ota_write.log",
    "rb_same_version_again.log",
    "rb_second_ota_while_pending.log",
    "dbg_update_ok.log",
    "dbg_power_cut_while_pending.log",
    "fac_update_ok.log",
    "fac_setboot_factory.log",
    "systime_update_ok.log",
    "v54_update_ok.log",
    "norb_update_ok.log",
    "norb_power_cut.log",
]


def config(name: str) -> BootConfig:
    return BootConfig(
        idf_version="v5.1",
        chip="esp32c3",
        chip_revision=3,
        rollback=not name.startswith("norb"),
        log_level="DEBUG" if name.startswith("dbg") else "INFO",
    )


def pairs(boot: Boot) -> list[Entries]:
    """Each time the app printed both entries."""
    said = [event for event in boot.events if isinstance(event, OtadataReport)]
    return [(one.data, two.data) for one, two in pairwise(said) if (one.entry, two.entry) == (0, 1)]


def memory(boot: Boot, versions: dict[str, str]) -> FlashImage:
    flash = FlashImage.erased(0x400000)
    assert boot.table is not None
    flash.load(0x8000, boot.table.to_binary())
    sha = next((event.value for event in boot.events if isinstance(event, AppInfo) and event.field == "elf_sha"), "")
    for partition in boot.table.app_slots:
        if partition.slot in versions:
            image = build_image(
                chip="esp32c3", version=versions[partition.slot], elf_sha=bytes.fromhex(sha.ljust(64, "0")[:64])
            )
            flash.load(partition.offset, image)
    return flash


def judged(name: str, settings: BootConfig) -> list[Judgement]:
    """One judgement for each boot between two readings of otadata."""
    log = INDEX[name]
    boots = segment(parse(gzip.decompress((LOGS / f"{name}.gz").read_bytes()))).boots
    before: Entries = (bytes.fromhex(log["otadata"]["before"][0]), bytes.fromhex(log["otadata"]["before"][1]))
    versions: dict[str, str] = {}
    found = []
    for boot in boots:
        versions |= {
            report.slot: report.version for report in boot.reports if report.version and "(" not in report.version
        }
        read = pairs(boot)
        found.append(judge(BootEvidence(boot.events, settings, before, read[0], memory(boot, versions))))
        before = read[-1]
    return found


@pytest.mark.parametrize("name", HEALTHY)
def test_unmodified_firmware_passes_in_every_boot(name):
    judgements = judged(name, config(name))
    assert len(judgements) == INDEX[name]["bootloader_banners"]
    assert [(judgement.verdict, judgement.reason) for judgement in judgements] == [
        (Verdict.PASS, "log, otadata and model agree")
    ] * len(judgements)


def test_bootloader_without_rollback_under_an_app_with_it_is_found_in_a_real_log():
    first, second, third = judged("mix_oldbl_newapp_ok.log", config("rb"))
    assert first.verdict is Verdict.PASS
    assert (second.verdict, second.reason) == (Verdict.FIRMWARE_FAIL, ROLLBACK_OFF)
    assert (third.verdict, third.reason) == (Verdict.FIRMWARE_FAIL, ROLLBACK_OFF)


def test_same_boots_judged_by_the_rules_of_a_bootloader_without_rollback_pass():
    assert {judgement.verdict for judgement in judged("mix_oldbl_newapp_ok.log", config("norb"))} == {Verdict.PASS}


def test_real_log_against_the_wrong_configuration_fails():
    verdicts = [judgement.verdict for judgement in judged("rb_update_ok_autovalid.log", config("norb"))]
    assert verdicts == [Verdict.PASS, Verdict.FIRMWARE_FAIL, Verdict.PASS]
