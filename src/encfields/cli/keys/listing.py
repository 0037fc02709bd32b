"""``encfields keys list``: every version of every key, or of some; never any key material."""

from __future__ import annotations

import argparse
from typing import Any

from encfields.cli import exits
from encfields.cli.keys import selection
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.keys.versions import KeyVersion

WHAT = "show every version of every key, or of those that are named; needs no keyring"

_HEADINGS = ["key", "version", "state", "created (UTC)"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    selection.add_options(parser, help_="default: all keys")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """List them."""
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        keys = settings.keys(engine, keys_needed=False)
        versions = selection.selected(arguments, keys, all_by_default=True).list()
    print_versions(versions, output)
    return exits.OK


def print_versions(versions: list[KeyVersion], output: Output) -> None:
    """Show versions."""
    if output.as_json:
        output.json([_document(version) for version in versions])
        return
    alive = {version.id for version in versions if version.active}
    rows = [
        [
            version.id,
            version.version,
            _state(version, version.id in alive),
            f"{version.created_at:%Y-%m-%d %H:%M:%S}",
        ]
        for version in versions
    ]
    output.table("branch keys", _HEADINGS, rows)


def _state(one: KeyVersion, has_active: bool) -> str:
    if one.fault:
        return f"malformed: {one.fault}"
    if one.destroyed_at is not None:
        return f"{'retired' if has_active else 'destroyed'} {one.destroyed_at:%Y-%m-%d}"
    return "active" if one.active else "reads only"


def _document(one: KeyVersion) -> dict[str, Any]:
    return {
        "key_id": one.id,
        "version": one.version,
        "active": one.active,
        "created_at": one.created_at.isoformat(),
        "destroyed_at": one.destroyed_at.isoformat() if one.destroyed_at is not None else None,
        "number": one.number,
        "fault": one.fault or None,
    }
