"""The partition table, which no update changes."""

from __future__ import annotations

from rig.gate.check import Outcome, check, failed, passed
from rig.gate.pieces import has_md5
from rig.gate.release import CannotTell, Release
from rig.idf.errors import FormatError
from rig.idf.partitions import OTADATA_SIZE


@check(
    "GATE-TABLE",
    title="The partition table keeps ESP-IDF's rules and lies inside flash",
    reason="The bootloader refuses a broken table, and no update can replace it.",
    remedy="Correct the partition CSV (docs of ESP-IDF: Partition Tables) and build again.",
)
def rules(release: Release) -> Outcome:
    build = release.build
    if build.table.broken:
        return failed(build.table.trouble)
    table = build.table.value
    try:
        table.verify(build.flash_size, table_offset=build.table_offset, idf_version=build.idf_version or "v5.5")
    except FormatError as error:
        return failed(str(error))
    return passed(f"{len(table.entries)} partitions in {build.flash_size // 0x100000} MB of flash")


@check(
    "GATE-TABLE-MD5",
    title="The partition table carries its MD5",
    reason="Without it the bootloader believes a table with damaged rows.",
    remedy="Set CONFIG_PARTITION_TABLE_MD5=y.",
)
def md5(release: Release) -> Outcome:
    if has_md5(release.build.table_file.value):
        return passed("it has its MD5 row")
    return failed("the table has no MD5 row")


@check(
    "GATE-OTA-SLOTS",
    title="There are two OTA slots or more, numbered without gap, of one size",
    reason="An update goes into the slot that is not running; with one slot, a gap or a smaller slot it cannot go on.",
    remedy="Give the table ota_0, ota_1, … of the same size, each at a multiple of 0x10000.",
)
def ota_slots(release: Release) -> Outcome:
    table = release.build.table.value
    slots = [entry for entry in table.app_slots if (entry.slot or "").startswith("ota_")]
    if len(slots) < 2:
        return failed(f"{len(slots)} OTA slot{'s' if len(slots) != 1 else ''}; an update needs two")
    if table.ota_count_app != len(slots):
        names = ", ".join(str(entry.slot) for entry in slots)
        return failed(f"the OTA slots are {names}; they must be numbered ota_0, ota_1, … without gap, each once")
    fixed = [str(entry.slot) for entry in slots if entry.readonly]
    if fixed:
        return failed(f"{' and '.join(fixed)} is read-only: no update can be written there")
    sizes = {entry.size for entry in slots}
    if len(sizes) > 1:
        each = ", ".join(f"{entry.slot} {entry.size:#x}" for entry in slots)
        return failed(f"the OTA slots differ in size: {each}")
    return passed(f"{len(slots)} OTA slots of {slots[0].size // 1024} KB")


@check(
    "GATE-OTADATA",
    title="There is one otadata partition of 0x2000 bytes, flashed blank",
    reason="With less than two sectors the bootloader boots nothing; old entries choose a slot that is not there yet.",
    remedy="Have one line `otadata, data, ota, , 0x2000` in the CSV; flash ota_data_initial.bin as ESP-IDF makes it.",
)
def otadata(release: Release) -> Outcome:
    build = release.build
    found = [entry for entry in build.table.value.entries if entry.is_otadata]
    if len(found) != 1:
        return failed(f"{len(found)} otadata partitions; allowed: one")
    if found[0].size != OTADATA_SIZE:
        return failed(f"otadata has {found[0].size:#x} bytes; it must have {OTADATA_SIZE:#x}")
    if found[0].readonly:
        return failed("otadata is read-only: no slot could be chosen, no app confirmed")
    if build.args.held is not None and found[0].offset not in build.flash_files:
        return failed(
            f"nothing is flashed to it at {found[0].offset:#x}: a chip that was used before keeps its entries"
        )
    data = build.otadata_file.value
    if data != b"\xff" * OTADATA_SIZE:
        return failed(f"what is flashed to otadata is not {OTADATA_SIZE:#x} bytes of 0xFF")
    return passed(f"one, at {found[0].offset:#x}, flashed blank")


@check(
    "GATE-APP-FITS",
    title="The app fits every slot with the margin asked for",
    reason="A later app that outgrows its slot can never be installed, as the table in the field stays.",
    remedy="Make the app smaller or, before the first device ships, the slots larger.",
)
def app_fits(release: Release) -> Outcome:
    build = release.build
    size = len(build.app_file.value)
    slots = {f"{entry.slot}": entry.size for entry in build.table.value.app_slots}
    if release.previous is not None and release.previous.table.held is not None:
        # it is this table that devices in the field have
        older = release.previous.table.held.app_slots
        slots |= {f"{entry.slot} of the previous release": entry.size for entry in older if entry.slot != "factory"}
    if not slots:
        raise CannotTell("the table has no app partition")
    name, room = min(slots.items(), key=lambda slot: slot[1] - release.margin.of(slot[1]))
    left = room - size
    if left < release.margin.of(room):
        free = f"{left} bytes are left" if left >= 0 else f"{-left} bytes too many"
        return failed(f"the app has {size} bytes; of {name} ({room} bytes) {free}, wanted: {release.margin}")
    return passed(f"{size} bytes; {left / room:.0%} of the smallest slot stays free")
