"""The ESP-IDF project in the repository: what can be said of it without ESP-IDF."""

import re

import pytest

from rig.protocol import MAX_LINE, MAX_PAYLOAD, PROTOCOL_VERSION
from rig.updates.agent import OUTCOMES
from rig.updates.agent_rules import OPTIONAL_RULES, RULES
from rig.virtual.builds import FIRMWARE, read_variant, variants
from tests.rig.firmware.c_side import AGENT, PURE, PURE_FOLDERS

COMPONENTS = [*sorted(path.parent for path in FIRMWARE.glob("*/*/CMakeLists.txt")), FIRMWARE / "main"]
SOURCES = sorted([*FIRMWARE.glob("main/*.[ch]"), *FIRMWARE.glob("*components/**/*.[ch]")])
CONTRACT = (FIRMWARE / "PROTOCOL.md").read_text(encoding="utf-8")
PROJECT = (FIRMWARE / "CMakeLists.txt").read_text(encoding="utf-8")


def section(number):
    return CONTRACT.split(f"## {number}. ")[1].split("\n## ")[0]


def contract_table(number):
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \| (\d+) s \|$", section(number), re.MULTILINE)
    return {name: (repeatable == "yes", float(limit)) for name, repeatable, limit in rows}


def c_commands(folder):
    found = [
        re.findall(r'^ +\{"(\w+)", \w+, (?:true|false)\},$', path.read_text(), re.M) for path in folder.rglob("*.c")
    ]
    return sorted(name for names in found for name in names)


def defined(name):
    for path in PURE.glob("*.h"):
        if match := re.search(rf"^#define {name} (\w+)$", path.read_text(), re.MULTILINE):
            return int(match[1], 0)
    raise AssertionError(f"{name} is not defined")


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda path: path.name)
def test_every_c_file_is_built_and_every_file_named_is_there(component):
    named = re.findall(r'"([\w/]+\.c)"', (component / "CMakeLists.txt").read_text())
    assert sorted(named) == sorted(str(path.relative_to(component)) for path in component.rglob("*.c"))


@pytest.mark.parametrize(
    "source", sorted(source for pure in PURE_FOLDERS for source in pure.glob("*.[ch]")), ids=lambda path: path.name
)
def test_pure_code_includes_c_and_itself_only(source):
    included = re.findall(r'^#include (["<][^">]+[">])', source.read_text(), re.MULTILINE)
    allowed = {f"<{name}.h>" for name in ("stdbool", "stddef", "stdint", "string")}
    assert {name for name in included if not name.startswith('"rig_')} <= allowed
    assert not re.search(
        r"\b(malloc|calloc|realloc|strdup|alloca|strcpy|strcat|sprintf|sscanf|atoi)\(", source.read_text()
    )


def test_no_source_file_has_more_than_one_job():
    assert [path.name for path in SOURCES if len(path.read_text().splitlines()) > 400] == []


def test_the_c_agent_has_the_commands_of_the_contract_and_no_others():
    ours = c_commands(FIRMWARE / "components")
    assert ours == sorted([*contract_table(5), *contract_table(8)])


def test_the_host_waits_for_commands_an_app_may_lack_as_the_contract_says():
    assert {name: tuple(rule) for name, rule in OPTIONAL_RULES.items()} == contract_table(8)
    assert not set(OPTIONAL_RULES) & set(RULES)


def test_the_c_agent_has_the_numbers_and_outcomes_of_the_contract():
    assert defined("RIG_PROTOCOL_VERSION") == PROTOCOL_VERSION
    assert (defined("RIG_LINE_MAX"), defined("RIG_FRAME_PAYLOAD_MAX")) == (MAX_LINE, MAX_PAYLOAD)
    names = re.search(r"s_names\[\] = \{([^}]*)\}", (AGENT / "src" / "store.c").read_text())[1]
    assert tuple(re.findall(r'"(\w+)"', names)) == ("none", *OUTCOMES)


@pytest.mark.parametrize("variant", variants())
def test_a_variant_says_what_it_is_for_and_belongs_to_the_readme(variant):
    assert (FIRMWARE / f"sdkconfig.ci.{variant}").read_text().startswith("# ")
    assert f"`{variant}`" in (FIRMWARE / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("variant", variants())
def test_a_variant_keeps_the_watchdog_that_ends_a_hung_app_and_the_log_that_is_evidence(variant):
    settings = read_variant(variant)
    assert settings["ESP_TASK_WDT_INIT"]
    assert settings["ESP_TASK_WDT_PANIC"]
    assert settings["ESP_TASK_WDT_TIMEOUT_S"] == 5
    assert settings["LOG_DEFAULT_LEVEL_INFO"]


WITH_NETWORK = [
    "network",
    "network_anti_rollback",
    "network_wifi",
    "pre_encrypted",
    "pre_encrypted_flash_encryption",
]


def test_the_network_is_in_the_build_of_the_variants_that_ask_for_it_only():
    asks = {name for name in variants() if read_variant(name).get("RIG_NETWORK")}
    assert asks == set(WITH_NETWORK)
    assert "rig_network" not in (AGENT / "CMakeLists.txt").read_text()


def test_only_variants_that_decrypt_fetch_a_component_of_others():
    decrypts = {name for name in variants() if read_variant(name).get("ESP_HTTPS_OTA_DECRYPT_CB")}
    assert decrypts == {"pre_encrypted", "pre_encrypted_flash_encryption"}
    manifests = [path.relative_to(FIRMWARE).as_posix() for path in FIRMWARE.rglob("idf_component.yml")]
    assert manifests == ["optional_components/rig_pre_encrypted/idf_component.yml"]
    extra = re.search(r'if\((.*)\)\n +list\(APPEND EXTRA_COMPONENT_DIRS .*/optional_components"\)', PROJECT)[1]
    assert extra == '"$ENV{ESP_HTTPS_OTA_DECRYPT_CB}" STREQUAL "ON"'


@pytest.mark.parametrize("variant", WITH_NETWORK)
def test_a_variant_with_a_network_can_do_what_the_contract_says_of_it(variant):
    settings = read_variant(variant)
    wanted = ("ESP_HTTPS_OTA_ALLOW_HTTP", "ESP_HTTPS_OTA_ENABLE_PARTIAL_DOWNLOAD", "MBEDTLS_HAVE_TIME_DATE")
    assert [name for name in wanted if settings.get(name) is not True] == []
