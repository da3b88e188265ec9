"""Build directories: made without ESP-IDF, read like any other, and every kind of damage is told before flashing."""

import contextlib
import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.boards.firmware import FirmwareBuild
from rig.errors import UserError
from rig.idf.chips import CHIPS
from rig.idf.config import BootConfig, FactoryReset
from rig.idf.errors import FormatError
from rig.idf.image import build_bootloader, build_image, pack_image, parse
from rig.idf.partitions import PartitionTable
from rig.virtual.builds import FIRMWARE, embedded_config, is_synthesised_app, make_build, read_variant, variants

BOOTLOADER, TABLE, APP = "bootloader/bootloader.bin", "partition_table/partition-table.bin", "rig_test_app.bin"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return make_build(tmp_path_factory.mktemp("build"), variant="factory", chip="esp32c3", version="1.0.0")


@pytest.fixture
def build(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "build"))


def refusal(folder):
    with pytest.raises(UserError) as caught:
        FirmwareBuild.load(folder)
    return caught.value


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


# making


@pytest.mark.parametrize("variant", variants())
def test_every_variant_makes_a_build_that_loads_on_every_chip(variant, tmp_path):
    for name in CHIPS:
        folder = make_build(tmp_path / name, variant=variant, chip=name, version="2.0.0")
        loaded = FirmwareBuild.load(folder)
        assert (loaded.chip, loaded.version, loaded.project) == (name, "2.0.0", "rig_test_app")
        assert embedded_config(loaded.bootloader_path.read_bytes()) == loaded.boot_config
        assert loaded.table.warnings() == ()


def test_variants_differ_as_their_names_say(tmp_path):
    def made(variant):
        return FirmwareBuild.load(make_build(tmp_path / variant, variant=variant, chip="esp32c3", version="1"))

    def slots(variant):
        return [entry.slot for entry in made(variant).table.app_slots]

    assert slots("rollback") == ["ota_0", "ota_1"]
    assert slots("factory") == ["factory", "ota_0", "ota_1"]
    assert slots("three_slots") == ["ota_0", "ota_1", "ota_2"]
    assert slots("factory_three_slots") == ["factory", "ota_0", "ota_1", "ota_2"]
    assert slots("factory_reset") == ["factory", "ota_0", "ota_1", "test"]
    assert [made(name).boot_config.rollback for name in ("rollback", "no_rollback", "factory_no_rollback")] == [
        True,
        False,
        False,
    ]
    levels = [made(name).boot_config.log_level for name in ("rollback", "rollback_debug", "rollback_quiet")]
    assert levels == ["INFO", "DEBUG", "WARN"]
    assert made("anti_rollback").boot_config.anti_rollback
    assert made("factory_reset").boot_config.factory_reset == FactoryReset(("nvs",), erase_otadata=True)
    assert made("factory_reset").boot_config.test_app_pin


def test_same_input_makes_the_same_files_and_another_version_another_app(tmp_path):
    def made(name, version):
        folder = make_build(tmp_path / name, variant="rollback", chip="esp32c3", version=version)
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.bin")}

    first, again, other = made("a", "1.0.0"), made("b", "1.0.0"), made("c", "1.0.1")
    assert first == again
    assert {str(path) for path in first if first[path] != other[path]} == {APP}
    shas = [parse(files[Path(APP)]).desc.elf_sha for files in (first, other)]
    assert shas[0] != shas[1]


def test_app_is_large_enough_to_make_a_transfer_take_time(pristine):
    assert 40 * 1024 < (pristine / APP).stat().st_size < 48 * 1024


def test_otadata_is_flashed_erased(pristine):
    assert FirmwareBuild.load(pristine).initial_otadata == b"\xff" * 0x2000


def test_bootloader_carries_its_rules_also_when_read_from_flash(pristine):
    flash = (pristine / BOOTLOADER).read_bytes() + b"\xff" * 1000
    assert embedded_config(flash) == FirmwareBuild.load(pristine).boot_config


def test_other_bootloaders_carry_no_rules_and_other_apps_no_marker(pristine):
    assert embedded_config(build_bootloader(chip="esp32c3", data=bytes(200))) is None
    assert not is_synthesised_app(build_image(chip="esp32c3", version="1", rodata=bytes(200)))
    assert is_synthesised_app((pristine / APP).read_bytes())


def test_cut_bootloader_is_no_bootloader_without_rules(pristine):
    with pytest.raises(FormatError, match="cut off"):
        embedded_config((pristine / BOOTLOADER).read_bytes()[:-1])


def test_unknown_variant_is_refused_naming_the_known_ones(tmp_path):
    with pytest.raises(UserError) as caught:
        make_build(tmp_path, variant="rolback", chip="esp32c3", version="1")
    assert "rolback" in caught.value.what
    assert "no_rollback" in caught.value.hint


@pytest.mark.parametrize(("option", "value"), [("chip", "esp99"), ("version", "v" * 40), ("idf_version", "master")])
def test_impossible_build_is_refused_before_anything_is_written(option, value, tmp_path):
    options = {"variant": "rollback", "chip": "esp32c3", "version": "1", option: value}
    with pytest.raises(UserError):
        make_build(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_variant_is_laid_over_the_defaults_and_keeps_to_one_choice():
    settings_of = read_variant("rollback_debug")
    assert settings_of["BOOTLOADER_LOG_LEVEL_DEBUG"] is True
    assert settings_of["BOOTLOADER_LOG_LEVEL_INFO"] is False
    assert settings_of["ESPTOOLPY_FLASHSIZE_4MB"] is True


def test_line_that_is_no_setting_is_refused_with_its_number(tmp_path):
    (tmp_path / "sdkconfig.ci.own").write_text("CONFIG_A=y\n\nrollback please\n")
    with pytest.raises(UserError, match="line 3: 'rollback please' is no setting"):
        read_variant("own", tmp_path)


# loading


def test_everything_flashing_needs_is_there(pristine):
    loaded = FirmwareBuild.load(pristine)
    assert {offset: path.name for offset, path in loaded.flash_files.items()} == {
        0x0: "bootloader.bin",
        0x8000: "partition-table.bin",
        0xD000: "ota_data_initial.bin",
        0x10000: "rig_test_app.bin",
    }
    assert list(loaded.flash_files) == sorted(loaded.flash_files)
    assert (loaded.flash_size, loaded.flash_settings.flash_mode) == (4 << 20, "dio")
    assert (loaded.app_offset, loaded.app_slot.slot) == (0x10000, "factory")
    assert (loaded.bootloader_offset, loaded.otadata_offset) == (0x0, 0xD000)
    assert loaded.idf_version == "v5.5"
    assert loaded.sdkconfig["IDF_TARGET"] == "esp32c3"
    assert loaded.boot_config == BootConfig(
        idf_version="v5.5", chip="esp32c3", chip_revision=4, rollback=True, secure_version_bits=16
    )


def test_bootloader_says_which_release_built_it(build):
    (build / BOOTLOADER).write_bytes(build_bootloader(chip="esp32c3", idf_version="v4.4.8"))
    loaded = FirmwareBuild.load(build)
    assert (loaded.boot_config.idf_version, loaded.idf_version) == ("v4.4", "v5.5")


def test_untagged_esp_idf_is_placed_by_the_sdkconfig(build):
    (build / BOOTLOADER).write_bytes(build_bootloader(chip="esp32c3", idf_version="a1b2c3d"))
    edit(build / "config/sdkconfig.json", lambda data: data.update(IDF_INIT_VERSION="6.0.1"))
    assert FirmwareBuild.load(build).boot_config.idf_version == "v6.0"
    edit(build / "config/sdkconfig.json", lambda data: data.pop("IDF_INIT_VERSION"))
    assert "a1b2c3d" in refusal(build).what


SDKCONFIG_HEADER = """#
# Automatically generated file. DO NOT EDIT.
# Espressif IoT Development Framework (ESP-IDF) 5.1.6 Project Configuration
#
"""


@pytest.mark.parametrize("said", ["a1b2c3d-dirty", "HEAD-HASH-NOTFOUND", ""])
@pytest.mark.parametrize("where", ["beside the build", "in the build"])
def test_untagged_v5_1_is_placed_by_the_head_of_its_sdkconfig(said, where, build, tmp_path):
    (build / BOOTLOADER).write_bytes(old_bootloader())
    (build / APP).write_bytes(build_image(chip="esp32c3", version="1.0.0", idf_version=said))
    assert repr(said) in refusal(build).what
    assert "version.txt" in refusal(build).hint
    config = tmp_path / "elsewhere" if where == "beside the build" else build / "sdkconfig"
    config.write_text(SDKCONFIG_HEADER)
    if where == "beside the build":
        edit(build / "project_description.json", lambda data: data.update(config_file=str(config)))
    loaded = FirmwareBuild.load(build)
    assert (loaded.boot_config.idf_version, loaded.idf_version) == ("v5.1", said)


def old_bootloader():
    """As before v5.2, when bootloaders did not describe themselves."""
    return pack_image(chip="esp32c3", segments=[(CHIPS["esp32c3"].iram[0], bytes(512))])


@pytest.mark.parametrize("said", ["v5.1.6-dirty", "v5.1.6-123-gabcdef0-dirty", "5.1.6", "v5.1-dev-4528-g420ebd208a"])
def test_bootloader_that_does_not_describe_itself_is_of_the_apps_release(said, build):
    (build / BOOTLOADER).write_bytes(old_bootloader())
    (build / APP).write_bytes(build_image(chip="esp32c3", version="1.0.0", idf_version=said))
    assert FirmwareBuild.load(build).boot_config.idf_version == "v5.1"


def test_flasher_args_of_v6_with_options_spelt_with_dashes_are_read(build):
    def as_v6(data):
        settings = data["flash_settings"]
        data["write_flash_args"] = [
            word for key in ("mode", "size", "freq") for word in (f"--flash-{key}", settings[f"flash_{key}"])
        ]
        data["extra_esptool_args"].update(before="default-reset", after="hard-reset")

    before = FirmwareBuild.load(build)
    edit(build / "flasher_args.json", as_v6)
    after = FirmwareBuild.load(build)
    assert (after.flash_files, after.flash_settings) == (before.flash_files, before.flash_settings)


def test_more_images_than_the_bench_needs_are_flashed_too(build):
    (build / "storage.bin").write_bytes(b"x" * 4096)

    def with_storage(data):
        data["flash_files"]["0x110000"] = "storage.bin"
        data["storage"] = {"offset": "0x110000", "file": "storage.bin", "encrypted": "false"}

    edit(build / "flasher_args.json", with_storage)
    assert FirmwareBuild.load(build).flash_files[0x110000] == build / "storage.bin"


def test_bootloader_may_fill_all_room_up_to_the_table(build):
    room = build_bootloader(chip="esp32c3", code=bytes(0x8000 - len(build_bootloader(chip="esp32c3", code=b""))))
    (build / BOOTLOADER).write_bytes(room)
    assert len(room) == 0x8000
    FirmwareBuild.load(build)


def test_detected_flash_size_is_the_configured_one(build):
    edit(build / "flasher_args.json", lambda data: data["flash_settings"].update(flash_size="detect"))
    assert FirmwareBuild.load(build).flash_size == 4 << 20


def test_missing_directory_and_missing_flasher_args_are_told_apart(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nowhere").what
    assert "no flasher_args.json" in refusal(tmp_path).what
    assert "idf.py build" in refusal(tmp_path).hint


@pytest.mark.parametrize("name", ["flasher_args.json", "config/sdkconfig.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe\x00", b"[" * 100000])
def test_broken_json_is_refused_naming_the_file(name, content, build):
    (build / name).write_bytes(content)
    assert Path(name).name in refusal(build).what


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.pop("app"), "flasher_args.json lacks app"),
        (lambda data: data.pop("partition-table"), "flasher_args.json lacks partition-table"),
        (lambda data: data.pop("otadata"), "no otadata section"),
        (lambda data: data["app"].update(offset="here"), "app.offset"),
        (lambda data: data["app"].update(offset="0x20000"), "where no app partition starts"),
        (lambda data: data["otadata"].update(offset="0xe000"), "its partition is at 0xd000"),
        (lambda data: data.update(flash_files={}), "flash_files"),
        (lambda data: data.update(flash_files={"zero": APP}), "'zero' is no flash offset"),
        (lambda data: data["flash_files"].update({"0xc000": APP}), "overlaps"),
        (lambda data: data["flash_files"].update({"0x3ff000": APP}), "behind the flash's end at 0x400000"),
        (lambda data: data["extra_esptool_args"].pop("chip"), "flasher_args.json lacks extra_esptool_args.chip"),
        (lambda data: data["extra_esptool_args"].update(chip="esp32"), "sdkconfig.json is for esp32c3"),
        (lambda data: data["flash_settings"].update(flash_size="2MB"), "behind the flash's end at 0x200000"),
    ],
)
def test_wrong_flasher_args_are_refused_saying_which_key(change, said, build):
    edit(build / "flasher_args.json", change)
    assert said in refusal(build).what


@pytest.mark.parametrize(
    "content",
    ['{"name": "web", "version": "1.0", "scripts": {}}', "{}", '{"builds": [{"chipFamily": "ESP32", "parts": []}]}'],
    ids=["package.json", "empty", "ESP Web Tools manifest"],
)
def test_foreign_json_is_not_taken_for_a_build(content, build):
    (build / "flasher_args.json").write_text(content)
    error = refusal(build)
    assert error.what.startswith("flasher_args.json is not ESP-IDF's: it lacks flash_settings, flash_files, ")
    assert error.evidence == build / "flasher_args.json"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_flasher_args_cut_anywhere_are_refused(build, pristine, data):
    whole = (pristine / "flasher_args.json").read_bytes().rstrip()
    (build / "flasher_args.json").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert refusal(build).what.startswith("flasher_args.json is no JSON")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_value_in_flasher_args_is_read_or_refused(build, pristine, data):
    args = json.loads((pristine / "flasher_args.json").read_text())
    inside = data.draw(st.sampled_from([args, *(value for value in args.values() if isinstance(value, dict))]))
    inside[data.draw(st.sampled_from(sorted(inside)))] = data.draw(json_values)
    (build / "flasher_args.json").write_text(json.dumps(args))
    with contextlib.suppress(UserError):
        FirmwareBuild.load(build)


def test_build_for_secure_boot_says_why_it_flashes_no_bootloader(build):
    edit(build / "flasher_args.json", lambda data: data.pop("bootloader"))
    error = refusal(build)
    assert error.what == "flasher_args.json flashes no bootloader"
    assert "CONFIG_SECURE_BOOT_FLASH_BOOTLOADER_DEFAULT" in error.hint


@pytest.mark.parametrize("section", ["bootloader", "partition-table", "app", "otadata"])
def test_flasher_args_put_together_from_two_builds_are_refused(section, build):
    def rename(data):
        shutil.copy(build / data[section]["file"], build / "other.bin")
        data[section]["file"] = "other.bin"

    edit(build / "flasher_args.json", rename)
    assert f"flasher_args.json: {section} is other.bin at " in refusal(build).what


@pytest.mark.parametrize("name", [BOOTLOADER, TABLE, APP, "ota_data_initial.bin"])
def test_missing_binary_is_refused(name, build):
    (build / name).unlink()
    assert refusal(build).what == f"{name} is named in flasher_args.json but missing"


@pytest.mark.parametrize("name", [BOOTLOADER, APP])
def test_image_for_another_chip_is_refused(name, build):
    other = build_image(chip="esp32s3", version="1") if name == APP else build_bootloader(chip="esp32s3")
    (build / name).write_bytes(other)
    assert "is for esp32s3, flasher_args.json for esp32c3" in refusal(build).what


def test_image_with_an_unknown_chip_id_is_refused(build):
    image = bytearray((build / APP).read_bytes())
    image[12:14] = b"\x77\x77"
    (build / APP).write_bytes(rehashed(image))
    assert "unknown chip id 30583" in refusal(build).what


def rehashed(image):
    """`image` with a SHA-256 that fits."""
    return bytes(image[:-32]) + sha256(image[:-32]).digest()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), name=st.sampled_from([BOOTLOADER, APP]))
def test_image_cut_anywhere_is_refused(build, pristine, data, name):
    whole = (pristine / name).read_bytes()
    ends = [segment.file_offset + len(segment.data) for segment in parse(whole).segments]
    near = [end + step for end in (0, 24, *ends, len(whole) - 32, len(whole)) for step in (-1, 0, 1)]
    cut = data.draw(st.sampled_from([end for end in near if 0 <= end < len(whole)]) | st.integers(0, len(whole) - 1))
    (build / name).write_bytes(whole[:cut])
    try:
        error = refusal(build)
    finally:
        (build / name).write_bytes(whole)
    assert "cut off" in error.what
    assert error.evidence == build / name


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 7 * 32 + 31))
def test_partition_table_cut_anywhere_is_refused(build, pristine, cut):
    whole = (pristine / TABLE).read_bytes()
    (build / TABLE).write_bytes(whole[:cut])
    assert "partition-table.bin: " in refusal(build).what


@pytest.mark.parametrize(("at", "said"), [(1000, "checksum is"), (-1, "SHA-256 is")])
def test_flipped_byte_in_the_app_is_refused(at, said, build):
    image = bytearray((build / APP).read_bytes())
    image[at] ^= 0x10
    (build / APP).write_bytes(image)
    assert said in refusal(build).what


def test_app_without_descriptor_is_refused(build):
    (build / APP).write_bytes(build_bootloader(chip="esp32c3"))
    assert "no app descriptor" in refusal(build).what


def test_app_larger_than_a_slot_is_refused_naming_the_slot(build):
    (build / APP).write_bytes(build_image(chip="esp32c3", version="1", rodata=bytes(0x100000)))
    error = refusal(build)
    assert "does not fit factory of 1048576 bytes" in error.what


def test_app_that_fits_factory_but_no_ota_slot_is_refused(build):
    rows = "otadata,data,ota,0xd000,8K\nbig,app,factory,0x10000,1M\na,app,ota_0,,0x8000\nb,app,ota_1,,0x8000"
    (build / TABLE).write_bytes(PartitionTable.from_csv(rows).to_binary())
    assert "does not fit a of 32768 bytes" in refusal(build).what


def test_bootloader_that_reaches_into_the_table_is_refused(build):
    (build / BOOTLOADER).write_bytes(build_bootloader(chip="esp32c3", code=bytes(0x8000)))
    assert "overlaps partition-table.bin at 0x8000" in refusal(build).what


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("nvs,data,nvs,,16K\nfactory,app,factory,0x10000,1M", "no otadata partition"),
        ("otadata,data,ota,0xd000,8K\nfactory,app,factory,0x10000,1M", "no OTA slot"),
        ("otadata,data,ota,0xd000,4K\nota_0,app,ota_0,0x10000,1M", "otadata must have 0x2000"),
        ("otadata,data,ota,0xd000,8K\nota_0,app,ota_0,0x10000,8M", "behind the flash's end"),
    ],
)
def test_table_without_what_ota_needs_is_refused(rows, said, build):
    (build / TABLE).write_bytes(PartitionTable.from_csv(rows).to_binary())
    assert said in refusal(build).what


def test_impossible_bootloader_setting_is_refused(build):
    edit(build / "config/sdkconfig.json", lambda data: data.update(BOOTLOADER_LOG_LEVEL=9))
    assert "BOOTLOADER_LOG_LEVEL is 9" in refusal(build).what


@pytest.mark.parametrize("table", ["factory_2ota.csv", "factory_2ota_test.csv"])
def test_anti_rollback_beside_a_factory_app_is_refused_as_by_esp_idf(table, tmp_path):
    firmware = tmp_path / "firmware"
    shutil.copytree(FIRMWARE / "partitions", firmware / "partitions")
    (firmware / "sdkconfig.ci.odd").write_text(
        f'CONFIG_PARTITION_TABLE_CUSTOM_FILENAME="partitions/{table}"\nCONFIG_BOOTLOADER_APP_ANTI_ROLLBACK=y\n'
        "CONFIG_ESPTOOLPY_FLASHSIZE_4MB=y\n"
    )
    with pytest.raises(UserError, match="with anti-rollback the partition table must have no factory or test app"):
        make_build(tmp_path / "build", variant="odd", chip="esp32c3", version="1.0.0", firmware=firmware)
