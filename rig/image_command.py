"""`rig image`: files in, files and facts out, for a person or as JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import click
from rich.text import Text

from rig.errors import UserError
from rig.idf.content_key import form_of
from rig.idf.encrypted_image import encrypt as encrypt_image
from rig.idf.encryption_keys import load_private_key, load_public_key
from rig.idf.errors import FormatError
from rig.image_facts import AppFacts, EncryptedFacts, SignatureFacts, facts_of
from rig.screen import Screen

LONGEST = 128 * 1024 * 1024
"""Bytes of the largest flash there is; what is longer is no image."""

_BAD = "WRONG: it does not sign these bytes"
_NAME = 16
"""Width of the column in front of the text."""

T = TypeVar("T")


def encrypt(key: Path, source: Path, target: Path, *, any_file: bool, force: bool, as_json: bool) -> None:
    """Pre-encrypt `source` for the device of `key`; `target` is written whole or not at all."""
    public_key = _told(key, load_public_key, _read(key))
    image = _read(source)
    for path in (key, source):
        if target.exists() and path.samefile(target):
            raise UserError(f"{target} is the {'key' if path == key else 'image'} itself", hint="name another file")
    if target.exists() and not target.is_file():
        # It would be replaced, which for a device, as root, is the end of it.
        raise UserError(f"{target} is no ordinary file", hint="name another file")
    if target.exists() and not force:
        raise UserError(f"{target} is there already", hint="--force writes over it")
    inside = None
    if not any_file:
        inside = _told(source, _app_only, image)
    data = _told(source, encrypt_image, image, public_key)
    _write(target, data)
    facts = facts_of(data)
    assert isinstance(facts, EncryptedFacts)
    if as_json:
        click.echo(json.dumps(asdict(facts) | {"inside": asdict(inside) if inside else None}, indent=2))
        return
    what = f"{inside.project} {inside.version} for {inside.chip}" if inside else "a file that is no app"
    click.echo(f"{target}: {what}, {len(image)} bytes, encrypted by {form_of(public_key)}; {len(data)} bytes")


def inspect(source: Path, key: Path | None, *, as_json: bool) -> None:
    """Say what `source` is; `key` is the private key of a pre-encrypted image."""
    private_key = None if key is None else _told(key, load_private_key, _read(key))
    facts = _told(source, facts_of, _read(source), private_key)
    if as_json:
        click.echo(json.dumps(asdict(facts), indent=2))
        return
    screen = Screen()
    if isinstance(facts, AppFacts):
        _show(screen, source.name, _app_rows(facts))
        return
    _show(screen, source.name, _encrypted_rows(facts))
    if facts.inside is not None:
        _show(screen, "inside", _app_rows(facts.inside))


def _app_only(data: bytes) -> AppFacts:
    facts = facts_of(data)
    if not isinstance(facts, AppFacts):
        raise FormatError("this image is pre-encrypted already; a device decrypts it only once")
    if facts.kind != "app":
        raise FormatError(f"this is a {facts.kind}, no app; --any-file encrypts it all the same")
    return facts


def _app_rows(facts: AppFacts) -> list[tuple[str, str]]:
    rows = [("what", {"app": "app", "bootloader": "bootloader", "image": "image without a description"}[facts.kind])]
    if facts.project is not None:
        rows.append(("project", facts.project))
    if facts.version is not None:
        rows.append(("version", facts.version))
        rows.append(("secure version", str(facts.secure_version)))
        rows.append(("built", f"{facts.built}, ESP-IDF {facts.idf_version or 'unknown'}"))
    rows.append(("chip", f"{facts.chip}, revisions {facts.min_revision} to {facts.max_revision}"))
    rows.append(("size", f"{facts.length} bytes in {facts.segments} segments, file {facts.size}"))
    appended = "appended to the image" if facts.hash_appended else "not appended to the image"
    rows.append(("SHA-256", f"{facts.sha256}\n{appended}"))
    if not facts.signatures:
        rows.append(("signature", "none"))
    for number, signature in enumerate(facts.signatures, start=1):
        rows.append((f"signature {number}", _signature_text(signature)))
    if facts.behind:
        rows.append(("behind it", f"{facts.behind} bytes that belong to no image"))
    return rows


def _signature_text(signature: SignatureFacts) -> str:
    name = {"rsa": "RSA-3072", "ecdsa": "ECDSA P-256"}[signature.scheme]
    state = "good for these bytes" if signature.good else _BAD
    return f"{name}, {state}\nkey digest {signature.key_digest}"


def _encrypted_rows(facts: EncryptedFacts) -> list[tuple[str, str]]:
    rows = [
        ("what", f"pre-encrypted image, {facts.form}"),
        ("size", f"{facts.image_size} bytes encrypted, file {facts.size}"),
        ("IV", facts.iv),
        ("tag", facts.tag),
    ]
    if facts.note is not None:
        rows.append(("inside", facts.note))
    return rows


def _show(screen: Screen, title: str, rows: list[tuple[str, str]]) -> None:
    screen.print(Text(title, style="bold"))
    for name, text in rows:
        first, *more = text.split("\n")
        line = Text(f"  {name:{_NAME}}", style="dim")
        line.append(first, style="bold red" if first.endswith(_BAD) else "not dim")
        for extra in (line, *(Text(" " * (_NAME + 2) + rest) for rest in more)):
            # Hashes stay in one piece to be copied.
            screen.print(extra, soft_wrap=True)


def _told(path: Path, work: Callable[..., T], *args: object) -> T:
    """The result of `work`; a FormatError names the file."""
    try:
        return work(*args)
    except FormatError as error:
        raise UserError(f"{path.name}: {error}", evidence=path) from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LONGEST:
            raise UserError(f"{path.name} is larger than any flash of an ESP chip", evidence=path)
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
