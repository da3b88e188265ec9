"""The device's side of the text protocol: reads requests, calls `esp_ota_*`, answers one line each (PROTOCOL.md, 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NamedTuple

from rig.idf.partitions import MAX_LENGTH, Partition
from rig.idf.secure_version import burnt_version
from rig.protocol import MAX_LINE, PROTOCOL_VERSION, Line, encode_line, looks_like_line, parse_line
from rig.virtual.command import Command, CommandError, Fields, Reply, check, digest, flag, number
from rig.virtual.cpu import Cpu
from rig.virtual.cut_line_command import cut_line
from rig.virtual.diagnostics import OUTCOMES, Diagnostics
from rig.virtual.features import Features
from rig.virtual.network_commands import NETWORK_COMMANDS
from rig.virtual.nvs import Nvs
from rig.virtual.ota import OK, Ota
from rig.virtual.resumption import forget
from rig.virtual.transfer import CRLF, FRAME, INACTIVITY, WINDOW, Receiver, Update

_LONGEST_DELAY = 3600


class Actions(NamedTuple):
    """What requests may make the app do besides OTA calls. None returns, except a `reject` that failed: its error."""

    restart: Callable[[str], None]
    reject: Callable[[str], str]
    crash: Mapping[str, Callable[[], None]]


class DeviceAgent:
    """Serves requests on UART0 until the chip stops."""

    def __init__(
        self, cpu: Cpu, ota: Ota, diagnostics: Diagnostics, actions: Actions, features: Features, facts: Fields
    ) -> None:
        self.cpu = cpu
        self.ota = ota
        self.features = features
        self.session: dict[str, object] = {}
        self._diagnostics = diagnostics
        self._actions = actions
        self._facts = facts
        self._input = bytearray()
        self._update: Update | None = None
        self._request_id = 0

    @property
    def nvs(self) -> Nvs | None:
        return self._diagnostics.nvs

    def event(self, name: str, fields: Fields) -> None:
        self.cpu.write(encode_line(Line(None, name, fields), CRLF))

    def progress(self, offset: int) -> None:
        """Say `ack` for the request under way: `offset` bytes are written."""
        self._answer(self._request_id, "ack", {"offset": str(offset)})

    def serve(self, until: float | None = None) -> None:
        """Answer requests until virtual time `until` (seconds since reset), or for ever."""
        while until is None or self.cpu.now() < until:
            data = self.cpu.read(None if until is None else max(0.0, until - self.cpu.now()))
            self._input += data
            while (end := self._input.find(b"\n")) >= 0:
                raw = bytes(self._input[:end])
                del self._input[: end + 1]
                self._handle(raw)
            # Binary rests of a broken transfer have no line ends; a request is never longer than this.
            del self._input[: max(0, len(self._input) - 2 * MAX_LINE)]

    def _handle(self, raw: bytes) -> None:
        line = parse_line(raw)
        if line is None:
            if looks_like_line(raw):
                self.event("bad_line", {})
            return
        if not line.is_request or line.id is None:
            return
        self._request_id = line.id
        try:
            command = COMMANDS.get(line.word) or OPTIONAL_COMMANDS.get(line.word)
            if command is None:
                raise CommandError("ESP_ERR_NOT_SUPPORTED", "unknown command")
            reply = command(self, line.fields)
        except CommandError as error:
            self._refuse(line.id, error)
            return
        self._answer(line.id, "ok", reply.fields)
        if reply.then is not None:
            reply.then()

    def _answer(self, number: int, word: str, fields: Fields) -> None:
        try:
            line = encode_line(Line(number, word, fields), CRLF)
        except ValueError:
            # A project or version text of many odd characters; the host must not wait for ever.
            line = encode_line(Line(number, "err", {"error": "ESP_ERR_INVALID_SIZE", "text": "answer too long"}), CRLF)
        self.cpu.write(line)

    def _refuse(self, number: int, error: CommandError) -> None:
        fields = {"error": error.error} | ({"text": error.text} if error.text else {}) | error.fields
        self._answer(number, "err", fields)

    # --- queries -------------------------------------------------------------------------------------------------

    def _ping(self, args: Mapping[str, str]) -> Reply:
        data = args.get("data", "")
        if len(data.encode()) > 200:
            raise CommandError("ESP_ERR_INVALID_ARG", "data is longer than 200 bytes")
        return Reply({"data": data})

    def _hello(self, _: Mapping[str, str]) -> Reply:
        image = self.ota.image
        return Reply(
            {
                "protocol": str(PROTOCOL_VERSION),
                "project": image.desc.project,
                "version": image.desc.version,
                "secure_version": str(image.desc.secure_version),
                "elf_sha256": image.desc.elf_sha.hex(),
                "idf": image.desc.idf_ver,
                "chip": image.config.chip,
                "running": image.slot,
                "state": self.ota.state_text(image.slot),
                **self._facts,
                "diag": self._diagnostics.outcome or "none",
                "rollback": flag(self.ota.context.rollback),
                "anti_rollback": flag(image.config.anti_rollback),
                "uptime_ms": str(int(self.cpu.now() * 1000)),
            }
        )

    def _slots(self, _: Mapping[str, str]) -> Reply:
        ota = self.ota
        return Reply(
            {
                "slots": ",".join(part.slot or "" for part in ota.table.app_slots),
                "running": ota.image.slot,
                "boot": ota.boot_slot() or "-",
                "next": ota.next_slot() or "-",
                "last_invalid": ota.last_invalid() or "-",
            }
        )

    def _slot(self, args: Mapping[str, str]) -> Reply:
        name, part = self._slot_argument(args)
        fields = {
            "slot": name,
            "label": part.label,
            "offset": hex(part.offset),
            "size": hex(part.size),
            "state": self.ota.state_text(name),
        }
        found = self.ota.slot_image(part)
        if found is None:
            return Reply(fields | {"image": "empty" if self.ota.is_blank(part) else "invalid"})
        return Reply(
            fields
            | {
                "image": "ok",
                "project": found.desc.project,
                "version": found.desc.version,
                "secure_version": str(found.desc.secure_version),
                "length": str(found.length),
                "sha256": found.sha256,
            }
        )

    def _otadata(self, _: Mapping[str, str]) -> Reply:
        found = self.ota.otadata()
        if found is None:
            raise CommandError("ESP_ERR_NOT_FOUND", "no otadata partition")
        offset, first, second = found
        return Reply({"offset": hex(offset), "entry0": first.hex(), "entry1": second.hex()})

    def _table(self, _: Mapping[str, str]) -> Reply:
        offset = self.ota.image.config.partition_table_offset
        content = self.ota.memory.read(offset, MAX_LENGTH)
        count = len(self.ota.table.entries)
        return Reply({"offset": hex(offset), "count": str(count), "sha256": sha256(content).hexdigest()})

    def _partition(self, args: Mapping[str, str]) -> Reply:
        index = number(args, "index", 0, len(self.ota.table.entries) - 1)
        part = self.ota.table.entries[index]
        numbers = {"type": part.type, "subtype": part.subtype, "offset": part.offset, "size": part.size}
        return Reply({"label": part.label} | {key: hex(n) for key, n in numbers.items()} | {"flags": hex(part.flags)})

    def _get_state(self, args: Mapping[str, str]) -> Reply:
        name, _ = self._slot_argument(args)
        error, state = self.ota.state(name)
        check(error)
        return Reply({"state": state})

    def _last_invalid(self, _: Mapping[str, str]) -> Reply:
        return Reply({"slot": self.ota.last_invalid() or "-"})

    def _rollback_possible(self, _: Mapping[str, str]) -> Reply:
        return Reply({"possible": flag(self.ota.rollback_possible())})

    def _secver(self, _: Mapping[str, str]) -> Reply:
        config = self.ota.image.config
        fields = {"app": str(self.ota.image.desc.secure_version)}
        if config.anti_rollback:
            fields |= {"efuse": str(burnt_version(self.ota.memory, config)), "bits": str(config.secure_version_bits)}
        return Reply(fields)

    # --- diagnostics, confirm, reject ----------------------------------------------------------------------------

    def _set_diag(self, args: Mapping[str, str]) -> Reply:
        outcome = args.get("outcome", "")
        if outcome not in OUTCOMES:
            raise CommandError("ESP_ERR_INVALID_ARG", f"outcome: {', '.join(OUTCOMES)}")
        seconds = number(args, "seconds", 1, _LONGEST_DELAY) if outcome == "delay" else 0
        self._diagnostics.set(outcome, seconds)
        return self._get_diag(args)

    def _get_diag(self, _: Mapping[str, str]) -> Reply:
        return Reply({"outcome": self._diagnostics.outcome or "none", "seconds": str(self._diagnostics.seconds)})

    def _confirm(self, _: Mapping[str, str]) -> Reply:
        check(self.ota.confirm())
        self._diagnostics.clear()
        return Reply({"state": self.ota.state_text(self.ota.image.slot)})

    def _reject(self, _: Mapping[str, str]) -> Reply:
        possible = self.ota.rollback_possible()
        self._diagnostics.clear()
        if possible:
            return Reply({}, lambda: self._log_failure(self._actions.reject("reject")))
        raise CommandError(self.ota.reject(), "no other slot to go back to")

    def _log_failure(self, error: str) -> None:
        self.ota.log.line("E", "rig_agent", f"reject failed: {error}")

    # --- changes -------------------------------------------------------------------------------------------------

    def _set_boot(self, args: Mapping[str, str]) -> Reply:
        name, _ = self._slot_argument(args)
        check(self.ota.set_boot(name))
        forget(self.nvs)
        return Reply({"boot": self.ota.boot_slot() or "-"})

    def _burn(self, args: Mapping[str, str]) -> Reply:
        if not self.ota.image.config.anti_rollback:
            raise CommandError("ESP_ERR_NOT_SUPPORTED", "this app was built without anti-rollback")
        version = number(args, "version", 0, 0xFFFFFFFF)
        if args.get("really") != "yes":
            raise CommandError("ESP_ERR_INVALID_ARG", "really=yes is needed: an eFuse cannot be cleared")
        check(self.ota.burn(version))
        return Reply({"efuse": str(burnt_version(self.ota.memory, self.ota.image.config))})

    def _crash(self, args: Mapping[str, str]) -> Reply:
        action = self._actions.crash.get(args.get("kind", ""))
        if action is None:
            raise CommandError("ESP_ERR_INVALID_ARG", f"kind: {', '.join(self._actions.crash)}")
        return Reply({}, action)

    def _plain(self, error: str) -> Reply:
        check(error)
        return Reply({})

    # --- update --------------------------------------------------------------------------------------------------

    def _update_begin(self, args: Mapping[str, str]) -> Reply:
        mode = args.get("mode", "unknown")
        if mode not in ("unknown", "size", "seq"):
            raise CommandError("ESP_ERR_INVALID_ARG", "mode: unknown, size, seq")
        size = number(args, "size", 1, 0x7FFFFFFF)
        timeout = number({"timeout": str(INACTIVITY)} | dict(args), "timeout", 1, _LONGEST_DELAY)
        slot = args.get("slot", "")
        if slot == "next":
            slot = self.ota.next_slot() or ""
        _, part = self._slot_argument({"slot": slot})
        wanted = digest(args)
        check(self.ota.begin(slot, size, mode))
        forget(self.nvs)
        self._update = None
        update = Update(self._request_id, slot, size, wanted, float(timeout))
        place = {"slot": slot, "offset": hex(part.offset), "frame": str(FRAME), "window": str(WINDOW)}
        return Reply(place, lambda: self._receive(update))

    def _receive(self, update: Update) -> None:
        self._input.clear()
        if Receiver(self.cpu, update, self.ota.write).receive() == OK:
            self._update = update
        else:
            self.ota.abort()

    def _update_end(self, _: Mapping[str, str]) -> Reply:
        update, self._update = self._update, None
        if update is None:
            raise CommandError("ESP_ERR_INVALID_STATE", "no update is open")
        if not update.hash_matches:
            self.ota.abort()
            raise CommandError("ESP_ERR_INVALID_CRC", "SHA-256 differs")
        check(self.ota.end())
        return Reply({"slot": update.slot, "length": str(update.written)})

    def _update_abort(self, _: Mapping[str, str]) -> Reply:
        if self._update is None:
            raise CommandError("ESP_ERR_INVALID_STATE", "no update is open")
        self._update = None
        return self._plain(self.ota.abort())

    def _slot_argument(self, args: Mapping[str, str]) -> tuple[str, Partition]:
        name = args.get("slot", "")
        part = self.ota.table.slot_for_app(name)
        if part is None:
            raise CommandError("ESP_ERR_INVALID_ARG", "no such slot")
        return name, part

    def _erase_previous(self, _: Mapping[str, str]) -> Reply:
        return self._plain(self.ota.erase_previous())

    def _invalidate_inactive(self, _: Mapping[str, str]) -> Reply:
        return self._plain(self.ota.invalidate_inactive())

    def _reboot(self, _: Mapping[str, str]) -> Reply:
        return Reply({}, lambda: self._actions.restart("reboot"))


COMMANDS: Mapping[str, Callable[[DeviceAgent, Mapping[str, str]], Reply]] = {
    "ping": DeviceAgent._ping,
    "hello": DeviceAgent._hello,
    "slots": DeviceAgent._slots,
    "slot": DeviceAgent._slot,
    "otadata": DeviceAgent._otadata,
    "table": DeviceAgent._table,
    "partition": DeviceAgent._partition,
    "get_state": DeviceAgent._get_state,
    "last_invalid": DeviceAgent._last_invalid,
    "rollback_possible": DeviceAgent._rollback_possible,
    "diag": DeviceAgent._set_diag,
    "diag_get": DeviceAgent._get_diag,
    "confirm": DeviceAgent._confirm,
    "reject": DeviceAgent._reject,
    "erase_previous": DeviceAgent._erase_previous,
    "invalidate_inactive": DeviceAgent._invalidate_inactive,
    "set_boot": DeviceAgent._set_boot,
    "secver": DeviceAgent._secver,
    "burn": DeviceAgent._burn,
    "update_begin": DeviceAgent._update_begin,
    "update_end": DeviceAgent._update_end,
    "update_abort": DeviceAgent._update_abort,
    "reboot": DeviceAgent._reboot,
    "crash": DeviceAgent._crash,
}
OPTIONAL_COMMANDS: Mapping[str, Command] = {"cut_line": cut_line, **NETWORK_COMMANDS}
"""Those of PROTOCOL.md, section 8, that this app has."""
