"""The steps of a scenario: what a person can do to a board under test, one table of `scenario.toml` each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Diagnosis = Literal["pass", "fail", "hang", "panic", "watchdog", "reboot", "delay", "manual"]
SlotName = Annotated[str, Field(pattern=r"^(factory|test|ota_(\d|1[0-5]))$")]
Where = Annotated[str, Field(min_length=1, description="a slot, a partition's label, otadata[0] or otadata[1]")]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Image(Table):
    """An app image: an app of this scenario's firmware with that version, and what is wrong with it.

    `variant`: of another build variant, also for another secure version. `keep`: the share that is there, the rest
    erased. `flip`: byte offsets whose bits are inverted (from the end if negative).
    """

    version: str = "2.0.0"
    variant: str | None = None
    keep: float = Field(default=1.0, ge=0.0, le=1.0)
    flip: tuple[int, ...] = ()
    chip: Literal["same", "other"] = "same"


class Boot(Table):
    """Start from flash by power-on (by the reset line where there is no switch) and wait for what comes up."""

    do: Literal["boot"] = "boot"


class Update(Table):
    """esp_ota_begin, esp_ota_write, esp_ota_end and esp_ota_set_boot_partition, over the UART.

    `slot`: `next` is esp_ota_get_next_update_partition. `stop_after`: give up after that share of the image.
    """

    do: Literal["update"] = "update"
    image: Image = Image()
    slot: Literal["next"] | SlotName = "next"
    stop_after: float | None = Field(default=None, gt=0.0, lt=1.0)


class SetBoot(Table):
    """esp_ota_set_boot_partition."""

    do: Literal["set_boot"] = "set_boot"
    slot: SlotName


class Confirm(Table):
    """esp_ota_mark_app_valid_cancel_rollback, whatever the state is."""

    do: Literal["confirm"] = "confirm"


class Reject(Table):
    """esp_ota_mark_app_invalid_rollback_and_reboot, and what comes up then."""

    do: Literal["reject"] = "reject"


class ErasePrevious(Table):
    """esp_ota_erase_last_boot_app_partition."""

    do: Literal["erase_previous"] = "erase_previous"


class Diagnose(Table):
    """How the next diagnostics of an app on probation end."""

    do: Literal["diagnostics"] = "diagnostics"
    outcome: Diagnosis
    seconds: int | None = Field(default=None, ge=0, le=3600)


class Restart(Table):
    """esp_restart by the app, and what comes up then."""

    do: Literal["restart"] = "restart"


class Reset(Table):
    """From outside, and what comes up then: `power` off and on, or a pulse on the reset `line`."""

    do: Literal["reset"] = "reset"
    how: Literal["power", "line"] = "power"


class Crash(Table):
    """The running app fails, and what comes up then; `hang` without a watchdog stays until it is reset."""

    do: Literal["crash"] = "crash"
    how: Literal["panic", "watchdog", "hang"] = "panic"


class Cut(Table):
    """Power is lost at the `nth` flash mutation in partition `where` while `during` is done; it stays off."""

    do: Literal["cut"] = "cut"
    during: Update | SetBoot | Confirm | Reject | ErasePrevious | Restart | Boot | Reset = Field(discriminator="do")
    where: Where = "otadata"
    kind: Literal["erase", "program", "any"] = "any"
    nth: int = Field(default=1, ge=1)
    phase: Literal["before", "torn", "after"] = "after"


class CutAtLine(Table):
    """Power is lost at the first console line that has `line` (a regular expression) while `during` is done."""

    do: Literal["cut_at_line"] = "cut_at_line"
    during: Update | SetBoot | Confirm | Reject | ErasePrevious | Restart | Boot | Reset = Field(discriminator="do")
    line: str = Field(min_length=1)


class Corrupt(Table):
    """Invert `bits` bits that `seed` picks in what lies at `where` (the image, or the 32 bytes of an entry), by cable.

    The chip is stopped for it; the next step starts it.
    """

    do: Literal["corrupt"] = "corrupt"
    where: Where
    seed: int = Field(default=0, ge=0)
    bits: int = Field(default=1, ge=1, le=4096)


class Erase(Table):
    """Erase a whole slot or partition, or one otadata entry's sector, by cable. The chip is stopped for it."""

    do: Literal["erase"] = "erase"
    where: Where


class Cable(Table):
    """Write an image into a slot by cable, past every OTA call. The chip is stopped for it."""

    do: Literal["cable"] = "cable"
    slot: SlotName
    image: Image = Image()


class WriteOtadata(Table):
    """Put these select entries into otadata by cable (words as in `start.otadata`). The chip is stopped for it."""

    do: Literal["otadata"] = "otadata"
    entries: tuple[str, str]


class Wait(Table):
    """Let that many seconds of the board's clock pass; with `until`, at most so long for the app to be confirmed."""

    do: Literal["wait"] = "wait"
    seconds: float = Field(default=30.0, gt=0.0, le=3600.0)
    until: Literal["confirmed"] | None = None


Step = Annotated[
    Boot
    | Update
    | SetBoot
    | Confirm
    | Reject
    | ErasePrevious
    | Diagnose
    | Restart
    | Reset
    | Crash
    | Cut
    | CutAtLine
    | Corrupt
    | Erase
    | Cable
    | WriteOtadata
    | Wait,
    Field(discriminator="do"),
]
