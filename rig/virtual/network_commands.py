"""The requests `net`, `ca`, `image_key` and `update_url` on the device (PROTOCOL.md, section 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rig.idf.encrypted_image import HEADER_SIZE
from rig.idf.image import AppDesc
from rig.idf.secure_version import accepts
from rig.virtual.command import Args, Command, CommandError, Device, Reply, number
from rig.virtual.http_client import HttpClient, HttpError, Rules, Silence
from rig.virtual.https_ota import HttpsOta, Plan
from rig.virtual.network import network_of
from rig.virtual.pre_encrypted import DecryptError, Decryptor
from rig.virtual.resumption import STEP, forget, keep, kept

LONGEST_PEM, LONGEST_URL = 6143, 300
TIMEOUT_S = 20
PROGRESS = 32768
LINK_SECONDS = 0.5
"""From the first `net` to an address."""
_LATEST = 0xFFFFFFFF


def net(device: Device, args: Args) -> Reply:
    """Bring the interface up; the host's network is there at once."""
    _demand_network(device)
    number({"wait": "20"} | dict(args), "wait", 0, 60)
    if "time" in args:
        device.session["clock"] = number(args, "time", 1, _LATEST) - device.cpu.now()
    if "net" not in device.session:
        device.cpu.sleep(LINK_SECONDS)
        device.session["net"] = True
    up = network_of(device.cpu) is not None
    fields = {"kind": "ethernet", "link": "1" if up else "0", "ip": "127.0.0.1" if up else "0.0.0.0"}
    return Reply(fields | {"power_save": "-"})


def ca(device: Device, args: Args) -> Reply:
    """Certificates of the update server's authority, piece by piece."""
    _demand_network(device)
    return _take_piece(device, args, "ca")


def image_key(device: Device, args: Args) -> Reply:
    """The private key of pre-encrypted images, piece by piece."""
    if not device.features.pre_encrypted:
        raise CommandError("ESP_ERR_NOT_SUPPORTED", "this app was not built for pre-encrypted images")
    return _take_piece(device, args, "image_key")


def update_url(device: Device, args: Args) -> Reply:
    """One update from end to end, as an app does it with esp_https_ota."""
    _demand_network(device)
    request = _Request.read(args)
    client = HttpClient(request.url, _rules(device, request))
    decryptor = _decryptor(device)
    guard = _Guard(device, request.checks_header)
    update = HttpsOta(device.ota, client, _plan(device, request, decryptor, guard.header_checked))
    try:
        if decryptor is None:
            _download(device, request, update, guard.check)
        else:
            _download(device, request, update, None)
        _finish(device, update, decryptor)
    except Silence:
        update.abort()
        text = f"the server said nothing for {request.timeout} s"
        raise CommandError("ESP_ERR_TIMEOUT", text, _came_to(update)) from None
    except (CommandError, HttpError, DecryptError) as error:
        update.abort()
        raise CommandError(error.error, error.text, _came_to(update)) from error
    finally:
        client.close()
    place = {"slot": update.slot.slot or "", "offset": hex(update.slot.offset), "length": str(update.written)}
    return Reply({"power_save": "-", **place, "boot": device.ota.boot_slot() or "-"})


NETWORK_COMMANDS: Mapping[str, Command] = {
    "net": net,
    "ca": ca,
    "image_key": image_key,
    "update_url": update_url,
}


@dataclass(frozen=True)
class _Request:
    """The arguments of `update_url`."""

    url: str
    common_name: str | None
    timeout: int
    checks_header: bool
    request_size: int | None
    resumes: bool

    @classmethod
    def read(cls, args: Args) -> _Request:
        if not 0 < len(args.get("url", "").encode()) <= LONGEST_URL:
            raise CommandError("ESP_ERR_INVALID_ARG", f"url: 1 to {LONGEST_URL} bytes")
        for name, allowed in (("check", ("header", "none")), ("resume", ("1",)), ("power_save", ("off", "keep"))):
            if args.get(name, allowed[0]) not in allowed:
                raise CommandError("ESP_ERR_INVALID_ARG", f"{name}: {', '.join(allowed)}")
        return cls(
            url=args["url"],
            common_name=args.get("common_name"),
            timeout=number({"timeout": str(TIMEOUT_S)} | dict(args), "timeout", 1, 120),
            checks_header=args.get("check", "header") == "header",
            request_size=number(args, "request_size", 1024, 1 << 20) if "request_size" in args else None,
            resumes="resume" in args,
        )


class _Guard:
    """What the app itself demands of the description of a new app.

    ESP-IDF's OTA examples compare the version with the running and the last invalid one and, with anti-rollback, the
    secure version; the project's name is compared besides.
    """

    def __init__(self, device: Device, checks: bool) -> None:
        self._device = device
        self._waiting = checks

    def check(self, update: HttpsOta) -> None:
        """Before anything is written. Raises CommandError."""
        if self._waiting:
            self._demand(update.description())

    def header_checked(self, plain: bytes) -> bytes:
        """The same with the first decrypted bytes, which are handed on."""
        if self._waiting and plain:
            self._waiting = False
            found = AppDesc.find(plain[32:])
            if found is None:
                raise CommandError("ESP_FAIL", "no app description")
            self._demand(found)
        return plain

    def _demand(self, new: AppDesc) -> None:
        ota = self._device.ota
        running = ota.image.desc
        if new.project != running.project:
            self._refuse(f"another project: {new.project}")
        if new.version == running.version:
            self._refuse("this version runs already")
        invalid = ota.last_invalid()
        part = None if invalid is None else ota.table.slot_for_app(invalid)
        failed = None if part is None else ota.slot_image(part)
        if failed is not None and failed.desc.version == new.version:
            self._refuse(f"this version has failed in {invalid}")
        config = ota.image.config
        if config.anti_rollback and not accepts(ota.memory, config, new.secure_version):
            raise CommandError("ESP_ERR_OTA_SMALL_SEC_VER", f"secure version {new.secure_version}")

    def _refuse(self, text: str) -> None:
        raise CommandError("ESP_ERR_INVALID_VERSION", text)


def _download(device: Device, request: _Request, update: HttpsOta, check: Callable[[HttpsOta], None] | None) -> None:
    update.begin()
    if check is not None:
        check(update)
    if not update.written:
        # Where the server did not go on, what is noted is not in the slot any more from the first byte on.
        forget(device.nvs)
    told = noted = update.written
    done = False
    while not done:
        done = update.perform()
        if request.resumes and update.written // STEP > noted // STEP:
            noted = update.written // STEP * STEP
            keep(device.nvs, request.url, update.slot.slot or "", noted)
        if update.written - told >= PROGRESS:
            told = update.written
            device.progress(told)
    if not update.complete:
        raise CommandError("ESP_FAIL", "not everything came")
    forget(device.nvs)


def _finish(device: Device, update: HttpsOta, decryptor: Decryptor | None) -> None:
    if decryptor is not None:
        try:
            decryptor.finish()
        finally:
            _print_logs(device, decryptor)
    update.finish()
    if device.ota.boot_slot() != update.slot.slot:
        raise CommandError("ESP_FAIL", "esp_https_ota_finish returned ESP_OK and has not chosen the slot")


def _plan(device: Device, request: _Request, decryptor: Decryptor | None, checked: Callable[[bytes], bytes]) -> Plan:
    if request.resumes and (device.ota.image.config.idf < (5, 5) or decryptor is not None):
        raise CommandError("ESP_ERR_NOT_SUPPORTED", "resume: from ESP-IDF v5.5, not with pre-encrypted images")
    if not request.resumes:
        forget(device.nvs)
    elif device.ota.context.rollback and device.ota.state(device.ota.image.slot)[1] == "PENDING_VERIFY":
        # esp_ota_resume would not look
        raise CommandError("ESP_ERR_OTA_ROLLBACK_INVALID_STATE", "the running app is not confirmed")
    if decryptor is not None:
        decrypt = decryptor

        def plain(data: bytes) -> bytes:
            try:
                return checked(decrypt.feed(data))
            finally:
                _print_logs(device, decrypt)

        return Plan(request.request_size, decrypt=plain, header_size=HEADER_SIZE)
    start = kept(device.nvs, request.url, device.ota.next_slot()) if request.resumes else 0
    return Plan(request.request_size, resumption=request.resumes, kept=start)


def _rules(device: Device, request: _Request) -> Rules:
    network = network_of(device.cpu)
    if network is None or "net" not in device.session:
        raise CommandError("ESP_ERR_INVALID_STATE", "no address yet: send net first")
    authority = device.session.get("ca")
    if request.url.lower().startswith("https:") and not authority:
        raise CommandError("ESP_ERR_INVALID_STATE", "no authority to trust: send ca first")
    clock = device.session.get("clock", 0.0)
    assert isinstance(clock, float)
    idf = device.ota.image.config.idf
    return Rules(
        network=network,
        authority=authority if isinstance(authority, bytes) else None,
        common_name=request.common_name,
        now=clock + device.cpu.now() if device.features.checks_dates else None,
        timeout=float(request.timeout),
        may_downgrade=idf < (5, 5) or idf == (6, 0),
    )


def _decryptor(device: Device) -> Decryptor | None:
    if not device.features.pre_encrypted:
        return None
    key = device.session.get("image_key")
    if not isinstance(key, bytes) or not key:
        raise CommandError("ESP_ERR_INVALID_STATE", "no key for pre-encrypted images: send image_key first")
    return Decryptor(key)


def _print_logs(device: Device, decryptor: Decryptor) -> None:
    for line in decryptor.take_logs():
        device.ota.log.effect(line)


def _came_to(update: HttpsOta) -> dict[str, str]:
    return {"offset": str(update.written)} if update.opened else {}


def _demand_network(device: Device) -> None:
    if not device.features.network:
        raise CommandError("ESP_ERR_NOT_SUPPORTED", "this app was built without network")


def _take_piece(device: Device, args: Args, name: str) -> Reply:
    before = device.session.get(name, b"")
    assert isinstance(before, bytes)
    offset = number(args, "offset", 0, len(before))
    text = before[:offset] + args.get("data", "").encode()
    if len(text) > LONGEST_PEM:
        raise CommandError("ESP_ERR_INVALID_SIZE", f"more than {LONGEST_PEM} bytes")
    device.session[name] = text
    return Reply({"size": str(len(text))})
