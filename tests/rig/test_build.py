"""`rig build` from outside: whole builds or none, progress, and what it says when ESP-IDF or the firmware fails.

A small script stands in for idf.py where only its being a process matters: it prints and ends like idf.py, and leaves a
build directory. What ESP-IDF itself makes of the firmware is tested at the end, where there is an ESP-IDF.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from rig import build, esp_idf
from rig.boards.firmware import FirmwareBuild
from rig.build import VERSION, Order, Step, complaint, default_variants, read_step
from rig.cli import main
from rig.errors import UserError
from rig.virtual.builds import FIRMWARE

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
BENCH = '[[board]]\nname = "emulated"\nkind = "qemu"\nchip = "esp32c3"\n'
STAND_IN = f"""\
import json, os, pathlib, subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
arguments = sys.argv[1:]
options = dict(word[2:].split("=", 1) for word in arguments if word.startswith("-D"))
folder = pathlib.Path(arguments[arguments.index("-B") + 1])
target, version = options["IDF_TARGET"], options["PROJECT_VER"]
variant = options["SDKCONFIG_DEFAULTS"].rpartition("sdkconfig.ci.")[2]
assert os.environ["IDF_TARGET"] == target and "PYTHONPATH" not in os.environ
assert not pathlib.Path(options["SDKCONFIG"]).exists()
pathlib.Path(options["SDKCONFIG"]).write_text("# made anew")
print("-- Building ESP-IDF components for target", target, flush=True)
print("[1/2] Building C object esp-idf/log/CMakeFiles/__idf_log.dir/log.c.obj", flush=True)
mode = os.environ.get("STAND_IN", "")
if mode in ("hang", "hang deaf"):
    handler = "SIG_IGN" if mode == "hang deaf" else "SIG_DFL"
    code = f"import signal, time; signal.signal(15, signal.{{handler}}); print(flush=True); time.sleep(120)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    path = pathlib.Path(os.environ["STAND_IN_PIDS"])
    path.with_suffix(".part").write_text(f"{{os.getpid()}} {{child.pid}}")
    path.with_suffix(".part").rename(path)
    time.sleep(120)
if mode == "compile error":
    print("FAILED: esp-idf/main/CMakeFiles/__idf_main.dir/main.c.obj")
    print("riscv32-esp-elf-gcc -c main.c")
    print("main/main.c:12:5: error: unknown type name 'flaot'")
    print("   12 |     flaot x;")
    print("ninja: build stopped: subcommand failed.")
    sys.exit(2)
if mode == "disk full":
    print("fatal error: error writing to cc.s: No space left on device")
    sys.exit(2)
if mode == "no packages":
    print("No module named 'click'\\nThis usually means that \\"idf.py\\" was not spawned within an ESP-IDF shell "
          "environment")
    sys.exit(1)
if mode == "killed":
    os.kill(os.getpid(), 9)
from rig.virtual.builds import make_build
make_build(
    folder, chip="esp32s3" if mode == "other chip" else target,
    variant="no_rollback" if mode == "other variant" else variant,
    version="0.0" if mode == "other version" else version,
)
app = folder / "rig_test_app.bin"
app.with_suffix(".elf").write_bytes(b"ELF of " + version.encode())
(folder / "bootloader" / "bootloader.elf").write_bytes(b"ELF")
(folder / "main.c.obj").write_bytes(bytes(1000))
if mode == "cut off":
    app.write_bytes(app.read_bytes()[:-10])
if mode == "outside":
    (folder.parent / "extra.bin").write_bytes(bytes(16))
    args = json.loads((folder / "flasher_args.json").read_text())
    args["flash_files"]["0x3f0000"] = "../extra.bin"
    (folder / "flasher_args.json").write_text(json.dumps(args))
print("[2/2] Generating binary image from built executable", flush=True)
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A folder with a bench, a small ESP-IDF project and a stand-in for ESP-IDF 5.1.6 that knows the esp32c3."""
    project = tmp_path / "project"
    shutil.copytree(FIRMWARE, project, ignore=shutil.ignore_patterns("components", "main", "build"))
    (project / "CMakeLists.txt").write_text("")
    (tmp_path / "rig.toml").write_text(BENCH)
    stand_in(tmp_path / "esp-idf")
    monkeypatch.setenv("IDF_PATH", str(tmp_path / "esp-idf"))
    monkeypatch.setenv("IDF_PYTHON_ENV_PATH", sys.prefix)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("STAND_IN", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stand_in(folder, version=(5, 1, 6), script=STAND_IN):
    cmake = folder / "tools" / "cmake"
    cmake.mkdir(parents=True)
    (folder / "tools" / "idf.py").write_text(script)
    names = ("MAJOR", "MINOR", "PATCH")
    (cmake / "version.cmake").write_text(
        "\n".join(f"set(IDF_VERSION_{name} {number})" for name, number in zip(names, version, strict=True))
    )
    (cmake / "toolchain-esp32c3.cmake").write_text("")
    return folder


def rig_build(*arguments, versions=("1.0.0",), variant="rollback"):
    command = ["build", "--project", "project", "--variant", variant, *arguments]
    for version in versions:
        command += ["--version", version]
    return CliRunner().invoke(main, command)


def refused(result, code=2):
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stderr


def finished(folder="builds"):
    """Every build that can be seen, and every leftover that should not be there."""
    kept = Path(folder) / "esp32c3"
    return sorted(str(path.relative_to(kept)) for path in kept.glob("*/*")) if kept.exists() else []


# what is left


def test_each_version_of_each_variant_is_a_whole_build_of_its_own(bench):
    result = rig_build("--variant", "no_rollback", versions=("1.0.0", "2.0.0"))
    assert result.exit_code == 0, result.output
    assert finished() == ["no_rollback/1.0.0", "no_rollback/2.0.0", "rollback/1.0.0", "rollback/2.0.0"]
    for variant, rollback in (("rollback", True), ("no_rollback", False)):
        for version in ("1.0.0", "2.0.0"):
            loaded = FirmwareBuild.load(bench / "builds" / "esp32c3" / variant / version)
            assert (loaded.chip, loaded.version, loaded.boot_config.rollback) == ("esp32c3", version, rollback)


def test_a_build_keeps_what_flashing_and_decoding_a_panic_need_and_no_object_files(bench):
    rig_build()
    folder = bench / "builds/esp32c3/rollback/1.0.0"
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "bootloader/bootloader.bin", "bootloader/bootloader.elf", "config/sdkconfig.json", "flasher_args.json",
        "ota_data_initial.bin", "partition_table/partition-table.bin", "project_description.json", "rig_test_app.bin",
        "rig_test_app.elf", "sdkconfig",
    ]  # fmt: skip
    assert json.loads((folder / "project_description.json").read_text())["build_dir"] == str(folder)


def test_a_newer_build_takes_the_place_of_an_older_one(bench):
    rig_build()
    elf = bench / "builds/esp32c3/rollback/1.0.0/rig_test_app.elf"
    elf.write_bytes(b"old")
    assert rig_build().exit_code == 0
    assert elf.read_bytes() == b"ELF of 1.0.0"
    assert finished() == ["rollback/1.0.0"]


def test_what_a_killed_run_left_is_cleared_away(bench):
    for name in (".1.0.0.new", ".1.0.0.old"):
        (bench / "builds/esp32c3/rollback" / name).mkdir(parents=True)
    assert rig_build().exit_code == 0
    assert finished() == ["rollback/1.0.0"]


def test_a_changed_variant_is_not_hidden_by_the_sdkconfig_of_an_earlier_run(bench):
    # the stand-in asserts that there is no sdkconfig
    assert rig_build().exit_code == 0
    assert rig_build().exit_code == 0


def test_another_esp_idf_starts_anew_and_the_same_one_does_not(bench, monkeypatch):
    left = bench / "builds/.work/esp32c3-rollback/build/left_over"
    rig_build()
    left.write_text("")
    rig_build(versions=("2.0.0",))
    assert left.exists()
    monkeypatch.setenv("IDF_PATH", str(stand_in(bench / "newer", (5, 5, 1))))
    rig_build()
    assert not left.exists()


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("cut off", "rig_test_app.bin: image is cut off"),
        ("other chip", "esp32c3 rollback 1.0.0: the build is for esp32s3"),
        ("other version", "esp32c3 rollback 1.0.0: the app says version '0.0'"),
        (
            "other variant",
            "the variant asks for CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=y, "
            "the build has CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=n",
        ),
        ("outside", "names a file outside the build folder: ../extra.bin"),
    ],
)
def test_a_build_that_is_not_what_was_asked_for_is_not_announced_and_the_old_one_stays(bench, monkeypatch, mode, said):
    rig_build()
    elf = bench / "builds/esp32c3/rollback/1.0.0/rig_test_app.elf"
    elf.write_bytes(b"old")
    monkeypatch.setenv("STAND_IN", mode)
    result = rig_build()
    assert said in refused(result)
    assert "\nevidence: " in result.stderr
    assert "\ntry: " in result.stderr
    assert elf.read_bytes() == b"old"
    assert finished() == ["rollback/1.0.0"]


def test_a_full_disk_while_copying_is_a_bench_fault_and_the_old_build_stays(bench, monkeypatch):
    rig_build()
    elves = [
        bench / "builds/esp32c3/rollback/1.0.0" / name for name in ("rig_test_app.elf", "bootloader/bootloader.elf")
    ]
    for elf in elves:
        elf.write_bytes(b"old")
    copy = shutil.copy2

    def full(source, target):
        if Path(target).name == "rig_test_app.elf":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return copy(source, target)

    monkeypatch.setattr(shutil, "copy2", full)
    assert "No space left on device" in refused(rig_build(), 3)
    assert [elf.read_bytes() for elf in elves] == [b"old", b"old"]
    assert finished() == ["rollback/1.0.0"]


def test_a_copy_that_came_out_short_is_not_announced(bench, monkeypatch):
    def short(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:-1])

    monkeypatch.setattr(shutil, "copy2", short)
    assert "esp32c3 rollback 1.0.0 was built, but its copy is broken: " in refused(rig_build(), 3)
    assert finished() == []


@pytest.mark.parametrize(
    ("number", "code", "mode"),
    [(signal.SIGINT, 130, "hang"), (signal.SIGTERM, 143, "hang"), (signal.SIGINT, 130, "hang deaf")],
)
def test_an_interrupted_build_leaves_no_process_and_no_half_build(bench, number, code, mode):
    pids = bench / "pids"
    process = subprocess.Popen(
        [sys.executable, "-m", "rig", "build", "--project", "project", "--variant", "rollback", "--version", "1.0.0"],
        env={**os.environ, "STAND_IN": mode, "STAND_IN_PIDS": str(pids)}, stderr=subprocess.PIPE,
        # as in a terminal, also when these tests run in the background
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        wait_until(pids.exists)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == code
    assert b"Traceback" not in said
    assert finished() == []
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: gone(pid))


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


# when it does not build


def test_a_compiler_error_is_shown_with_the_whole_log_named(bench, monkeypatch):
    monkeypatch.setenv("STAND_IN", "compile error")
    said = refused(rig_build())
    assert said.startswith("rig: user error: esp32c3 rollback 1.0.0 was not built: idf.py ended with exit code 2\n")
    assert "  main/main.c:12:5: error: unknown type name 'flaot'\n     12 |     flaot x;\n" in said
    log = bench / "builds/.work/esp32c3-rollback/build-1.0.0.log"
    assert f"evidence: {log}\n" in said
    assert "riscv32-esp-elf-gcc -c main.c" in log.read_text()
    assert finished() == []


@pytest.mark.parametrize(
    ("mode", "code", "said"),
    [
        ("disk full", 3, "try: make room on the disk"),
        ("killed", 3, "was ended by signal 9"),
        ("no packages", 2, "/esp-idf/export.sh` in this shell first"),
    ],
)
def test_broken_tools_are_told_from_broken_firmware(bench, monkeypatch, mode, code, said):
    monkeypatch.setenv("STAND_IN", mode)
    assert said in refused(rig_build(), code)


def test_two_runs_do_not_work_in_one_folder(bench):
    work = bench / "builds/.work/esp32c3-rollback"
    work.mkdir(parents=True)
    with FileLock(work / "lock"):
        assert "another rig build works on esp32c3 rollback" in refused(rig_build())
    assert rig_build().exit_code == 0


# what can be told before anything is started


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "esp32c6"], "ESP-IDF 5.1.6 cannot build for 'esp32c6'"),
        (["--variant", "rolback"], "unknown build variant 'rolback'"),
        (["--version", "v1;x"], "'v1;x' cannot be a version"),
        (["--version", "1" * 32], "cannot be a version"),
        (["--version", "../../escape"], "cannot be a version"),
        (["--version", ".work"], "cannot be a version"),
        (["--project", "."], "is no ESP-IDF project: it has no CMakeLists.txt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_built_is_refused_before_the_first_build(bench, arguments, said):
    assert said in refused(rig_build(*arguments))
    assert not (bench / "builds").exists()


def test_without_esp_idf_it_says_what_was_looked_for_and_that_virtual_boards_need_none(bench, monkeypatch):
    monkeypatch.delenv("IDF_PATH")
    monkeypatch.setenv("PATH", str(bench))
    said = refused(rig_build())
    assert "IDF_PATH is not set and there is no idf.py on PATH" in said
    assert "export.sh" in said
    assert "virtual boards need no build" in said


def test_a_bench_of_virtual_boards_needs_no_build(bench):
    (bench / "rig.toml").write_text('[[board]]\nname = "v"\nkind = "virtual"\n')
    said = refused(rig_build())
    assert "virtual boards bring their own" in said
    assert "--target" in said


def test_default_variants_differ_in_how_the_bootloader_decides_and_burn_nothing():
    names = set(default_variants(FIRMWARE))
    assert {"rollback", "no_rollback", "rollback_debug", "factory", "three_slots"} <= names
    assert not {"anti_rollback", "factory_reset", "flash_encryption", "gap_probe", "network"} & names


@pytest.mark.parametrize(
    ("text", "is_default"),
    [
        ("# none\nCONFIG_BOOTLOADER_LOG_LEVEL_DEBUG=y\n", True),
        ("# CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK is not set\n", True),
        ("CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK=y\n", False),
        ("CONFIG_BOOTLOADER_APP_TEST=y\n", False),
        ("CONFIG_SECURE_BOOT=y\n", False),
        ("CONFIG_PARTITION_TABLE_OFFSET=0x9000\nCONFIG_RIG_NETWORK=y\n", False),
    ],
)
def test_a_new_variant_is_built_by_default_if_it_asks_for_nothing_more(tmp_path, text, is_default):
    (tmp_path / "sdkconfig.ci.own").write_text(text)
    assert default_variants(tmp_path) == (("own",) if is_default else ())


@given(version=st.text(max_size=40))
def test_an_accepted_version_fits_the_app_descriptor_and_names_a_visible_folder(version):
    if VERSION.fullmatch(version):
        assert len(version.encode()) < 32
        assert Path(version).name == version
        assert not version.startswith(".")
        assert not set(version) & set('";\\$ \n')


# finding ESP-IDF


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda idf: (idf / "tools/idf.py").unlink(), "where there is no tools/idf.py"),
        (lambda idf: (idf / "tools/cmake/version.cmake").unlink(), "is no ESP-IDF: tools/cmake/version.cmake"),
        (lambda idf: (idf / "tools/cmake/version.cmake").write_text("cut"), "does not say which version"),
        (lambda idf: (idf / "tools/cmake/version.cmake").write_text(version_4), "ESP-IDF 4.4.8"),
    ],
)
def test_a_folder_that_is_no_usable_esp_idf_is_refused(tmp_path, damage, said):
    idf = stand_in(tmp_path / "esp-idf")
    damage(idf)
    with pytest.raises(UserError) as caught:
        esp_idf.find({"IDF_PATH": str(idf), "PATH": os.environ["PATH"]})
    assert said in caught.value.what
    assert "export.sh" in caught.value.hint


version_4 = "set(IDF_VERSION_MAJOR 4)\nset(IDF_VERSION_MINOR 4)\nset(IDF_VERSION_PATCH 8)"


def test_esp_idf_is_found_by_idf_py_on_path(tmp_path):
    idf = stand_in(tmp_path / "esp-idf", (6, 0, 2))
    (idf / "tools/idf.py").chmod(0o755)
    found = esp_idf.find({"PATH": f"{idf}/tools:{os.environ['PATH']}"})
    assert (found.path, found.version, found.targets) == (idf, "6.0.2", ("esp32c3",))
    assert found.environment["IDF_PATH"] == str(idf)


def test_idf_runs_in_its_own_python(tmp_path):
    idf = stand_in(tmp_path / "esp-idf")
    python = tmp_path / "idf_python" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("")
    python.chmod(0o755)
    assert esp_idf.find({"IDF_PATH": str(idf), "IDF_PYTHON_ENV_PATH": str(python.parents[1])}).python == str(python)
    # without it the first on PATH, as export.sh leaves it
    assert esp_idf.find({"IDF_PATH": str(idf), "PATH": str(python.parent)}).python == str(python)
    with pytest.raises(UserError, match="no Python for ESP-IDF"):
        esp_idf.find({"IDF_PATH": str(idf), "PATH": str(tmp_path)})


def test_our_virtual_environment_is_hidden_from_idf():
    environ = {
        "PATH": "/ours/bin:/usr/bin:/idf/tools", "VIRTUAL_ENV": "/ours", "PYTHONPATH": "/x", "PYTHONHOME": "/y",
        "IDF_PYTHON_ENV_PATH": "/idf_env", "HOME": "/root",
    }  # fmt: skip
    assert esp_idf.clean(environ, Path("/ours")) == {
        "PATH": "/usr/bin:/idf/tools", "IDF_PYTHON_ENV_PATH": "/idf_env", "HOME": "/root",
    }  # fmt: skip
    # rig may be installed in IDF's own environment
    assert esp_idf.clean(environ, Path("/idf_env"))["PATH"] == environ["PATH"]
    in_idf = {"PATH": "/idf_env/bin:/usr/bin", "IDF_PYTHON_ENV_PATH": "/idf_env"}
    assert esp_idf.clean(in_idf, Path("/idf_env")) == in_idf


# what is shown


@pytest.mark.parametrize(
    ("line", "step"),
    [
        (
            "[12/940] Building C object esp-idf/log/CMakeFiles/__idf_log.dir/log.c.obj",
            Step("Building C object log.c.obj", 12, 940),
        ),
        ("\x1b[32m[940/940] Generating binary image\x1b[0m", Step("Generating binary image", 940, 940)),
        ("[1/2] Linking CXX executable rig.elf", Step("Linking CXX executable rig.elf", 1, 2)),
        ("-- Configuring done", Step("configuring: Configuring done")),
        ("[12/", None),
        ("main.c:3: warning: unused", None),
        ("", None),
    ],
)
def test_progress_is_what_ninja_and_cmake_say(line, step):
    assert read_step(line) == step


@given(line=st.text())
def test_no_line_breaks_the_progress(line):
    step = read_step(line)
    assert step is None or step.text


def test_a_complaint_begins_with_the_first_error_and_keeps_the_hints():
    output = "\n".join(
        ["[1/9] Building C object a.obj", "a.c:1:1: warning: odd", "CMake Error at CMakeLists.txt:3 (x):", "  no such"]
        + [f"line {number}" for number in range(40)]
        + ["HINT: install it"]
    )
    said = complaint(output)
    assert said[:2] == ["CMake Error at CMakeLists.txt:3 (x):", "  no such"]
    assert said[-1] == "HINT: install it"
    assert len(said) < 20


LINKER = f"""\
[939/940] Linking CXX executable rig_test_app.elf
FAILED: rig_test_app.elf
: && riscv32-esp-elf-g++ {"esp-idf/log/liblog.a " * 2000}-Wl,--wrap=error: && :
ld: esp-idf/main/libmain.a(main.c.obj): in function `use':
main.c:15: undefined reference to `nowhere'
collect2: error: ld returned 1 exit status
ninja: build stopped: subcommand failed.
ninja failed with exit code 1, output of the command is in the build/log/idf_py_stderr_output_1
"""


def test_a_linkers_complaint_is_shown_without_its_command_line():
    assert complaint(LINKER) == [
        "ld: esp-idf/main/libmain.a(main.c.obj): in function `use':", "main.c:15: undefined reference to `nowhere'",
        "collect2: error: ld returned 1 exit status",
    ]  # fmt: skip


def test_a_failure_without_a_word_of_error_shows_its_last_lines():
    assert complaint("\n".join(map(str, range(50))))[-1] == "49"
    assert complaint("") == []


def test_each_build_is_one_line_with_size_release_and_time(bench):
    result = rig_build(versions=("1.0.0", "2.0.0"))
    lines = result.stdout.splitlines()
    assert lines[0] == f"ESP-IDF 5.1.6 in {bench / 'esp-idf'}"
    assert lines[1].startswith("[1/2] esp32c3 rollback 1.0.0: ")
    assert lines[2].startswith("[2/2] esp32c3 rollback 2.0.0: ")
    assert lines[3] == f"2 builds in {bench / 'builds'}"


def test_for_programs_it_prints_json_and_nothing_else(bench):
    result = rig_build("--json", "--builds", "elsewhere")
    (built,) = json.loads(result.stdout)
    assert built["path"] == str(bench / "elsewhere/esp32c3/rollback/1.0.0")
    assert (built["target"], built["variant"], built["version"]) == ("esp32c3", "rollback", "1.0.0")


def test_an_order_names_absolute_defaults_and_limits_the_compilers(tmp_path):
    idf = esp_idf.EspIdf(Path("/idf"), "5.1.6", "python", {})
    order = Order(FIRMWARE, tmp_path, "esp32c3", "no_rollback", "2.0.0", 3)
    command = order.command(idf)
    defaults = f"-DSDKCONFIG_DEFAULTS={FIRMWARE}/sdkconfig.defaults;{FIRMWARE}/sdkconfig.ci.no_rollback"
    assert defaults in command
    assert "-DCMAKE_JOB_POOLS=rig=3" in command
    assert order.environment(idf)["CMAKE_BUILD_PARALLEL_LEVEL"] == "3"


# with ESP-IDF


@pytest.mark.skipif(not os.environ.get("IDF_PATH"), reason="needs ESP-IDF: IDF_PATH is not set (see docs/firmware.md)")
@pytest.mark.timeout(1800)
def test_esp_idf_builds_two_versions_of_the_firmware(tmp_path):
    idf = esp_idf.find(os.environ)
    if "esp32c3" not in idf.targets:
        pytest.skip("this ESP-IDF cannot build for esp32c3")
    built = {}
    for version in ("1.0.0", "2.0.0"):
        *steps, last = build.run(Order(FIRMWARE, tmp_path, "esp32c3", "rollback", version, 4), idf)
        assert any(step.total for step in steps)
        assert last.build.path == tmp_path / "esp32c3" / "rollback" / version
        assert (last.build.chip, last.build.version, last.build.boot_config.rollback) == ("esp32c3", version, True)
        built[version] = last.build
    # Further versions compile little: the bootloader is not even built again.
    first, second = built.values()
    assert first.bootloader_path.read_bytes() == second.bootloader_path.read_bytes()
    assert first.app_path.read_bytes() != second.app_path.read_bytes()
