"""`rig ota-serve`: an update server at the terminal, with a line for every request."""

from __future__ import annotations

import json
import queue
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from rich.text import Text

from rig.boards.firmware import FirmwareBuild
from rig.errors import UserError
from rig.screen import Screen
from rig.updates.ca import NAME, Authority, Tls
from rig.updates.faults import Rule, parse_rule
from rig.updates.served import Served
from rig.updates.server import APP, UpdateServer

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EVERYWHERE = ("0.0.0.0", "::")
QEMU_HOST = "10.0.2.2"
"""This machine, as a guest of QEMU's user networking sees it."""
Requests = queue.SimpleQueue[Served | None]


@dataclass(frozen=True)
class Serving:
    """What to serve and how; `ca` is where the CA's certificate goes, None for plain HTTP."""

    build: Path
    previous: Path | None
    faults: tuple[str, ...]
    host: str
    port: int
    ca: Path | None
    names: tuple[str, ...]


def run(how: Serving, *, as_json: bool) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    rules = [parse_rule(text) for text in how.faults]
    address = _reachable(how.host)
    authority = None if how.ca is None else Authority.create()
    tls = None if authority is None else _certificate(authority, how, address)
    requests: Requests = queue.SimpleQueue()
    server = UpdateServer(host=how.host, port=how.port, tls=tls, report=requests.put)
    if how.previous is not None:
        _offer(server, how.previous)
    what = _offer(server, how.build)
    for rule in rules:
        _inject(server, rule)
    said = Screen(stderr=as_json, highlight=False, soft_wrap=True)
    with _ended_by_signals(requests), server:
        if authority is not None and how.ca is not None:
            _write_ca(how.ca, authority)
        _introduce(said, server, how, what, address, rules)
        for served in iter(requests.get, None):
            if as_json:
                sys.stdout.write(json.dumps(served.as_json()) + "\n")
                sys.stdout.flush()
            else:
                said.print(line(served))


def line(served: Served) -> Text:
    """One request as a line of the terminal."""
    text = Text(time.strftime("%H:%M:%S", time.localtime(served.at)), style="dim")
    text.append(f"  {served.client:<21} ", style="default")
    if served.method:
        asked = _plain(f"{served.method} {served.path}" + (f" [{served.range}]" if served.range else ""))
        text.append(f"{asked:<32} ", style="default")
        text.append(str(served.status), style=_colour(served.status))
        text.append(f" {served.sent:>9,} bytes {served.seconds:>8.3f} s  ", style="default")
    elif served.status:
        text.append(f"{'(no request)':<32} ", style="default")
        text.append(f"{served.status}  ", style=_colour(served.status))
    else:
        text.append(f"{'(no request)':<32} ", style="default")
    text.append(_plain(served.ended), style="default" if served.ended == "complete" else "yellow")
    if served.fault:
        text.append(f"  {served.fault}", style="magenta")
    return text


def _plain(text: str) -> str:
    """What a client sent, without what a terminal would obey."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _colour(status: int) -> str:
    return "green" if status < 400 else "red"


def _offer(server: UpdateServer, source: Path) -> str:
    """Offer a build directory or an image file; says what it is."""
    if source.is_dir():
        build = FirmwareBuild.load(source)
        server.offer_build(build)
        return f"{build.project} {build.version} for {build.chip} ({source})"
    try:
        server.offer(APP, source.read_bytes())
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror}") from error
    return str(source)


def _inject(server: UpdateServer, rule: Rule) -> None:
    if rule.path is not None and rule.path not in server.offered:
        raise UserError(f"fault {rule}: nothing is offered at {rule.path}", hint=f"one of: {' '.join(server.offered)}")
    server.inject(rule.fault, path=rule.path, times=rule.times, after=rule.after)


def _introduce(said: Screen, server: UpdateServer, how: Serving, what: str, address: str, rules: list[Rule]) -> None:
    said.print(f"Serving {what}", markup=False)
    width = max(len(server.url(path, address)) for path in server.offered)
    for path in server.offered:
        said.print(f"  {server.url(path, address):<{width}}  {server.size(path):>9,} bytes", markup=False)
    if rules:
        said.print("Wrong on purpose")
    width = max((len(str(rule)) for rule in rules), default=0)
    for rule in rules:
        said.print(Text(f"  {rule!s:<{width}}", style="magenta").append(f"  {rule.fault.summary}", style="default"))
    trust = []
    if how.ca is not None:
        said.print(f"The CA to trust is in {how.ca}; it is made anew at every start", markup=False)
        trust = ["--cacert", str(how.ca)]
    if how.host in EVERYWHERE or not _is_loopback(how.host):
        said.print("[yellow]Anyone who reaches this port gets these files: there is no access control[/]")
    command = shlex.join(["curl", "--fail", *trust, "-o", "downloaded.bin", server.url(APP, address)])
    said.print(f"Try\n  {command}\nCtrl-C ends it.", markup=False)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _certificate(authority: Authority, how: Serving, address: str) -> Tls:
    """For every way in which this machine may be called."""
    hosts = dict.fromkeys((*how.names, address, "localhost", "127.0.0.1", "::1", QEMU_HOST))
    return authority.server_certificate(hosts=tuple(hosts))


def _reachable(host: str) -> str:
    """How others call this machine: `host`, or when that means all addresses, the one that packets leave by."""
    if host not in EVERYWHERE:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: it only asks the routing table. 192.0.2.1 is for documentation (RFC 5737).
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _write_ca(path: Path, authority: Authority) -> None:
    """Replaces a CA of an earlier run, never anything else."""
    try:
        if path.exists() and not _is_ours(path.read_bytes()):
            raise UserError(f"{path} is there already and was not made by this command", hint="name another with --ca")
        path.write_bytes(authority.pem)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", hint="name another with --ca") from error


def _is_ours(content: bytes) -> bool:
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        return False
    return len(certificates) == 1 and f"CN={NAME}" in certificates[0].subject.rfc4514_string()


@contextmanager
def _ended_by_signals(requests: Requests) -> Iterator[None]:
    """A signal ends the queue instead of the process; a second one is for whom the first is not enough."""
    before: dict[signal.Signals, Any] = {}

    def end(number: int, frame: object) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        requests.put(None)

    for number in ENDING:
        before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
