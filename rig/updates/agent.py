"""The host's side of the serial contract: requests to the agent in the app, typed answers, silence explained."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Protocol

from rig.errors import BenchFault, FirmwareFault, UserError
from rig.protocol import MAX_ID, PROTOCOL_VERSION, Line, encode_line, parse_line
from rig.updates.agent_results import (
    CutLine,
    Diagnostics,
    Event,
    Fields,
    Gaps,
    Hello,
    Network,
    OtaData,
    PartitionRow,
    SecureVersion,
    SlotInfo,
    Slots,
    TableInfo,
    UpdateStarted,
)
from rig.updates.agent_rules import MOST_RESETS, OPTIONAL_RULES, RESET, RULES, SHORT, Rule
from rig.updates.agent_url import AS_USUAL, PIECE, UrlOptions, UrlUpdate

OUTCOMES = ("pass", "fail", "hang", "panic", "watchdog", "reboot", "delay", "manual")
ATTEMPTS = 3
"""How often a repeatable request is sent before the device counts as silent."""

PATIENCE_S, MAX_PATIENCE_S = 60, 3600
"""How long a device waits for the next frame of a transfer by default, and at most (PROTOCOL.md, 6)."""


class LineChannel(Protocol):
    """The board's console as the agent needs it."""

    def write(self, data: bytes) -> None:
        """Send bytes to the device."""

    def expect_line(self, accept: Callable[[bytes], bool], timeout: float) -> bytes:
        """The next complete line that `accept` takes, without its line end; earlier ones are passed over for good.

        Waits up to `timeout` seconds, then raises TimeoutError; lines seen until then are passed over, too.
        """


class AgentTimeout(BenchFault):
    """No answer came. `heard` says whether anything at all was printed meanwhile."""

    heard: bool = False


class AgentError(FirmwareFault):
    """The device answered `err`, or ended a transfer with `fail`; `error` is the ESP-IDF name.

    `offset`: bytes of a download that are in the slot, None when nothing was touched (PROTOCOL.md, 8.1).
    """

    def __init__(
        self, command: str, error: str, text: str | None, board: str | None, offset: int | None = None
    ) -> None:
        detail = f": {text}" if text else ""
        super().__init__(f"the agent answered {command!r} with {error}{detail}", board=board)
        self.command = command
        self.error = error
        self.text = text
        self.offset = offset


class DeviceRestarted(FirmwareFault):
    """The app started anew while an answer or an acknowledgement was due."""


class Agent:
    """Talks to the agent of one board. Every method raises AgentError for `err` and AgentTimeout for silence.

    `clock_rate`: so many seconds may pass for the device in one of ours, at most.
    """

    def __init__(
        self,
        channel: LineChannel,
        *,
        board: str | None = None,
        first_id: int | None = None,
        clock_rate: float = 1.0,
    ) -> None:
        self._channel = channel
        self._board = board
        self._patience = min(MAX_PATIENCE_S, math.ceil(PATIENCE_S * clock_rate))
        # Late answers to an earlier agent object must not fit: start anywhere.
        self._last_id = random.randrange(MAX_ID) if first_id is None else first_id - 1

    @property
    def channel(self) -> LineChannel:
        return self._channel

    @property
    def board(self) -> str | None:
        return self._board

    # --- queries -------------------------------------------------------------------------------------------------

    def ping(self, data: str = "") -> bool:
        """Whether the device returns `data` (at most 200 bytes of UTF-8) unharmed."""
        return self.request("ping", data=data).text("data") == data

    def hello(self) -> Hello:
        """Who is running; UserError if it speaks another version of the contract."""
        answer = self.request("hello")
        self._check_version(answer)
        return Hello.read(answer)

    def slots(self) -> Slots:
        return Slots.read(self.request("slots"))

    def slot(self, slot: str) -> SlotInfo:
        return SlotInfo.read(self.request("slot", slot=slot))

    def all_slots(self) -> dict[str, SlotInfo]:
        """Every slot by name, in table order."""
        return {name: self.slot(name) for name in self.slots().slots}

    def otadata(self) -> OtaData:
        answer = self.request("otadata")
        return OtaData(answer.number("offset"), (answer.data("entry0", 32), answer.data("entry1", 32)))

    def table(self) -> TableInfo:
        answer = self.request("table")
        return TableInfo(answer.number("offset"), answer.number("count"), answer.text("sha256"))

    def partitions(self) -> tuple[PartitionRow, ...]:
        """The rows of the partition table in flash."""
        return tuple(self._partition(index) for index in range(self.table().count))

    def get_state(self, slot: str) -> str:
        return self.request("get_state", slot=slot).text("state")

    def last_invalid(self) -> str | None:
        """The slot `esp_ota_get_last_invalid_partition` names, if any."""
        return self.request("last_invalid").slot_or_none("slot")

    def rollback_possible(self) -> bool:
        return self.request("rollback_possible").flag("possible")

    def diagnostics(self) -> Diagnostics:
        answer = self.request("diag_get")
        return Diagnostics(answer.text("outcome"), answer.number("seconds"))

    def secure_version(self) -> SecureVersion:
        answer = self.request("secver")
        if answer.optional("efuse") is None:
            return SecureVersion(answer.number("app"), None, None)
        return SecureVersion(answer.number("app"), answer.number("efuse"), answer.number("bits"))

    # --- what changes the device ---------------------------------------------------------------------------------

    def set_diagnostics(self, outcome: str, seconds: int | None = None) -> Diagnostics:
        """How the next diagnostics end; `seconds` (1 to 3600) only with `delay`. UserError for another outcome."""
        if outcome not in OUTCOMES:
            raise UserError(f"unknown diagnostics outcome {outcome!r}; allowed: {', '.join(OUTCOMES)}")
        if (outcome == "delay") != (seconds is not None):
            raise UserError(f"diagnostics outcome {outcome!r} with seconds={seconds}: seconds belong to 'delay' only")
        fields = {"outcome": outcome} | ({} if seconds is None else {"seconds": str(seconds)})
        answer = self.request("diag", **fields)
        return Diagnostics(answer.text("outcome"), answer.number("seconds"))

    def confirm(self) -> str:
        """esp_ota_mark_app_valid_cancel_rollback, whatever the state is; the state afterwards."""
        return self.request("confirm").text("state")

    def reject(self) -> None:
        """esp_ota_mark_app_invalid_rollback_and_reboot; AgentError when the device has no image to go back to."""
        self.request("reject")

    def erase_previous(self) -> None:
        self.request("erase_previous")

    def invalidate_inactive(self) -> None:
        self.request("invalidate_inactive")

    def set_boot(self, slot: str) -> str:
        """esp_ota_set_boot_partition; the slot that boots next."""
        return self.request("set_boot", slot=slot).text("boot")

    def burn_secure_version(self, version: int) -> int:
        """Burn the anti-rollback eFuse up to `version`, for good; its value afterwards."""
        return self.request("burn", version=str(version), really="yes").number("efuse")

    def reboot(self) -> None:
        self.request("reboot")

    def crash(self, kind: str = "panic") -> None:
        """Make the app panic, hang, or meet its task watchdog (`panic`, `hang`, `watchdog`)."""
        self.request("crash", kind=kind)

    def update_begin(
        self,
        size: int,
        slot: str = "next",
        mode: str = "unknown",
        sha256: str | None = None,
        timeout: int | None = None,
    ) -> UpdateStarted:
        """esp_ota_begin; from here on the device takes frames of `rig.updates.uart`, no requests.

        `timeout`: seconds of the device's clock without an intact frame after which it gives up; by default as long as
        60 seconds of ours can be for it.
        """
        timeout = self._patience if timeout is None else timeout
        fields = {"slot": slot, "size": str(size), "mode": mode, "timeout": str(timeout)}
        if sha256 is not None:
            fields["sha256"] = sha256
        answer = self.request("update_begin", **fields)
        return UpdateStarted(
            request_id=self._last_id,
            slot=answer.text("slot"),
            offset=answer.number("offset"),
            frame=answer.number("frame"),
            window=answer.number("window"),
        )

    def update_end(self) -> int:
        """esp_ota_end; the length written in bytes. AgentError ESP_ERR_OTA_VALIDATE_FAILED for a bad image."""
        return self.request("update_end").number("length")

    def update_abort(self) -> None:
        self.request("update_abort")

    # --- what an app may lack (PROTOCOL.md, section 8) -------------------------------------------------------------

    def network(
        self,
        ssid: str | None = None,
        password: str | None = None,
        wait: int | None = None,
        time: int | None = None,
    ) -> Network:
        """Start Ethernet or Wi-Fi, wait up to `wait` seconds (else 20) for an address; how far it came.

        `time` sets the device's clock, in seconds since 1970.
        """
        numbers = {"wait": wait, "time": time}
        given = {"ssid": ssid, "password": password} | {name: _text(number) for name, number in numbers.items()}
        return Network.read(self.request("net", **_without_none(given)))

    def set_ca(self, pem: bytes) -> None:
        """Give the device the certificates (PEM) of the update server's authority, until its next reset."""
        self._send_pieces("ca", pem)

    def set_image_key(self, pem: bytes) -> None:
        """Give the device the private key (PEM) of pre-encrypted images, until its next reset."""
        self._send_pieces("image_key", pem)

    def _send_pieces(self, command: str, pem: bytes) -> None:
        text = pem.decode("ascii")
        for offset in range(0, len(text), PIECE):
            self.request(command, offset=str(offset), data=text[offset : offset + PIECE])

    def update_url(self, url: str, options: UrlOptions = AS_USUAL) -> UrlUpdate:
        """Have the device download an image as esp_https_ota does and choose it for the next boot.

        AgentError as section 8.1 says, with the `offset` it came to.
        """
        return UrlUpdate.read(self.request("update_url", url=url, **options.fields()))

    def begin_gap_probe(self, period_us: int | None = None) -> int:
        """Start two timers that interrupt all the time; the period in microseconds."""
        given = {"period_us": None if period_us is None else str(period_us)}
        return self.request("gap_begin", **_without_none(given)).number("period_us")

    def end_gap_probe(self) -> Gaps:
        """Stop them; the longest time each was kept waiting."""
        return Gaps.read(self.request("gap_end"))

    def arm_cut_line(self, op: str, where: str = "app", nth: int = 1, delay_us: int = 0) -> CutLine:
        """Let the board cut its own supply, once (PROTOCOL.md, 9). AgentError ESP_ERR_INVALID_ARG when out of range."""
        fields = {"op": op, "in": where, "nth": str(nth), "delay_us": str(delay_us)}
        return CutLine.read(self.request("cut_line", **fields))

    def disarm_cut_line(self) -> None:
        self.request("cut_line", op="off")

    # --- events --------------------------------------------------------------------------------------------------

    def wait_event(self, name: str, timeout: float) -> Event:
        """The next event of that name from here on in the console; AgentTimeout after `timeout` seconds."""
        line, heard = self._wait(lambda line: line.is_event and line.word == name, timeout)
        if line is None:
            raise self._silence(f"no event {name!r} within {timeout:g} s", heard)
        return Event(line.word, line.fields)

    def wait_ready(self, timeout: float) -> Event:
        """Until the app takes requests; UserError if it speaks another version of the contract."""
        event = self.wait_event("ready", timeout)
        self._check_version(Fields("event 'ready'", event.fields, self._board))
        return event

    # --- one request ---------------------------------------------------------------------------------------------

    def request(self, command: str, **fields: str) -> Fields:
        """Send a request and return the fields of its `ok`. Only repeatable commands are sent again."""
        rule = RULES.get(command) or OPTIONAL_RULES.get(command, SHORT)
        heard = False
        attempts = ATTEMPTS if rule.repeatable else 1
        for _ in range(attempts):
            number = self._next_id()
            self._channel.write(encode_line(Line(number, command, fields)))
            answer, any_line = self._wait(lambda line, number=number: _concerns(line, number, rule), rule.limit)  # type: ignore[misc]
            heard = heard or any_line
            if answer is not None and answer.word == "start":
                raise self.restarted(f"before it answered {command!r}")
            if answer is None or answer.is_event:
                continue
            if answer.word == "err":
                raise self.failure(command, answer)
            return Fields(f"answer to {command!r}", answer.fields, self._board)
        raise self._silence(f"no answer to {command!r} within {rule.limit:g} s, sent {attempts} times", heard)

    def wait_progress(self, request_id: int, timeout: float) -> Line | None:
        """The next `ack`, `nak` or `fail` of that update; None after `timeout` seconds."""
        line, _ = self._wait(lambda line: _is_start(line) or (line.is_progress and line.id == request_id), timeout)
        if line is not None and line.is_event:
            raise self.restarted("during the transfer")
        return line

    def failure(self, command: str, line: Line) -> AgentError:
        """The error an `err` or `fail` line reports."""
        said = Fields(f"answer to {command!r}", line.fields, self._board)
        error = said.optional("error") or "ESP_FAIL"
        return AgentError(command, error, said.optional("text"), self._board, said.optional_number("offset"))

    def restarted(self, when: str) -> DeviceRestarted:
        return DeviceRestarted(f"the app started anew {when}", board=self._board, hint="the console log says why")

    def _partition(self, index: int) -> PartitionRow:
        row = self.request("partition", index=str(index))
        numbers = {name: row.number(name) for name in ("type", "subtype", "offset", "size", "flags")}
        return PartitionRow(label=row.text("label"), **numbers)

    def _next_id(self) -> int:
        self._last_id = self._last_id % MAX_ID + 1
        return self._last_id

    def _wait(self, wanted: Callable[[Line], bool], timeout: float) -> tuple[Line | None, bool]:
        heard, resets = False, 0

        def accept(raw: bytes) -> bool:
            nonlocal heard, resets
            heard = True
            resets += RESET in raw
            if resets > MOST_RESETS:
                raise self._silence(f"the chip was reset {resets} times while an answer was waited for", heard)
            line = parse_line(raw)
            return line is not None and wanted(line)

        try:
            return parse_line(self._channel.expect_line(accept, timeout)), True
        except TimeoutError:
            return None, heard

    def _check_version(self, fields: Fields) -> None:
        spoken = fields.number("protocol")
        if spoken != PROTOCOL_VERSION:
            raise UserError(
                f"the app speaks version {spoken} of the serial contract, the bench version {PROTOCOL_VERSION}",
                board=self._board,
                hint="build the app with the agent of this release",
            )

    def _silence(self, what: str, heard: bool) -> AgentTimeout:
        if heard:
            hint = "the board prints but does not answer: does this app contain the agent, and has it reached `ready`?"
        else:
            hint = "nothing at all was heard: check power, cable and baud rate; a hanging app is silent, too"
        error = AgentTimeout(what, board=self._board, hint=hint)
        error.heard = heard
        return error


def _concerns(line: Line, number: int, rule: Rule) -> bool:
    if line.is_answer:
        return line.id == number
    # The device could not read the request: worth sending again, if that does no harm.
    return line.word == "bad_line" and line.is_event if rule.repeatable else _is_start(line)


def _without_none(fields: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _is_start(line: Line) -> bool:
    return line.is_event and line.word == "start"
