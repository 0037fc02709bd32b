"""``encfields keys create-table``, ``create``, ``rotate`` and ``list``: branch keys and their
versions; never any key material."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from typing import Any

from encfields.cli import exits
from encfields.cli.commands.keys import selection
from encfields.cli.output import Output
from encfields.cli.settings import Settings
from encfields.errors import EncFieldsError
from encfields.keys.admin import KeyAdmin
from encfields.keys.sql.store import SqlKeyStore
from encfields.keys.store import KeyStore
from encfields.keys.versions import KeyVersion

CREATE_TABLE = "create the key table unless it exists; needs a --keyring"
CREATE = (
    "create branch keys; needs a --keyring. Existing keys are left as they are. "
    + selection.GOES_ON
)
ROTATE = (
    "create a new version, which seals new values from now on; needs a --keyring. Values under "
    "older versions stay readable; `encfields status` counts them. Several keys are rotated "
    "each by itself: one that fails stops no other. Interrupted, it continues with --made-before"
)
LIST = "show every version of every key, or of the named ones; needs no keyring"


def create_table(arguments: argparse.Namespace, output: Output) -> int:
    """Make it."""
    settings = Settings(arguments)
    with settings.open_engine(creates_tables=True) as engine:
        keys = settings.keys(engine)
        keys.create_table()
        name = keys.store_name
    if output.as_json:
        output.json({"key_store": name})
    elif settings.store_name() is None:
        _print_name(name, output)
    return exits.OK


def add_rotate_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    selection.add_options(parser, all_=True)
    parser.add_argument(
        "--made-before",
        metavar="TIME",
        type=_time,
        help="leave alone keys whose newest version was made at this time or later, such as "
        "2026-01-31T23:59 (UTC): those that an interrupted run has rotated",
    )


def create(arguments: argparse.Namespace, output: Output) -> int:
    """Make them."""
    settings = Settings(arguments)
    with settings.open_engine(creates_tables=arguments.create_table) as engine:
        store = settings.store_on(engine)
        keys = settings.keys_in(store, engine)
        if arguments.create_table:
            keys.create_table()
        if opens_no_key(store):
            sys.stderr.write(OTHER_KEYRING)
        status = _create(arguments, keys, output)
        if arguments.create_table and settings.store_name() is None:
            _print_name(keys.store_name, output)
    return status


OTHER_KEYRING = (
    "encfields: warning: this keyring opens none of the keys that the table has. Whoever opens "
    "those cannot open what it creates: if it is the wrong one, wrap the new keys with the right "
    "one, `encfields keys rewrap ID --to KEYRING`\n"
)
_MOST_TRIED = 10


def opens_no_key(store: KeyStore) -> bool:
    """Whether a key table has keys, and its keyring none of the wrapping keys of those tried.

    No error is raised, and one of KMS says nothing of the keyring. AWS's key store is not asked:
    who administers it may not be allowed to decrypt.
    """
    if not isinstance(store, SqlKeyStore):
        return False
    try:
        active = [one for one in store.wrapped_many(None) if one.key_version.active]
    except EncFieldsError:
        return False
    tried = active[:_MOST_TRIED]
    for wrapped in tried:
        try:
            wrapped.unwrap()
        except EncFieldsError as error:
            if error.reason == "wrong-keyring":
                continue
        return False
    return bool(tried)


def _create(arguments: argparse.Namespace, keys: KeyAdmin, output: Output) -> int:
    if selection.names_one(arguments):
        _print_versions([keys.create(arguments.key_ids[0])], output)
        return exits.OK
    many = selection.selected(arguments, keys)
    with selection.progress(output, "creating") as progress:
        report = many.create(progress=progress)
    return selection.print_report(report, "created", arguments, output)


def rotate(arguments: argparse.Namespace, output: Output) -> int:
    """Rotate them."""
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        return _rotate(arguments, settings.keys(engine), output)


def _rotate(arguments: argparse.Namespace, keys: KeyAdmin, output: Output) -> int:
    made_before: dt.datetime | None = arguments.made_before
    if selection.names_one(arguments) and made_before is None:
        _print_versions([keys.rotate(arguments.key_ids[0])], output)
        return exits.OK
    many = selection.selected(arguments, keys)
    began = made_before or dt.datetime.now(dt.UTC)
    again = f"--made-before {began.isoformat(timespec='seconds')}"
    if made_before is None:
        # Printed now, because a killed process prints nothing.
        sys.stderr.write(f"encfields: if this is interrupted, continue with {again}\n")
    with selection.progress(output, "rotating", f"continue with {again}") as progress:
        report = many.rotate(made_before=made_before, progress=progress)
    return selection.print_report(report, "rotated", arguments, output)


def _time(text: str) -> dt.datetime:
    try:
        given = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a time is written 2026-01-31T23:59") from None
    return given.replace(tzinfo=dt.UTC) if given.tzinfo is None else given


def _print_name(name: str, output: Output) -> None:
    """Show the random name of a new key store."""
    if not output.as_json:
        output.line(
            f"The key store is called {name!r}. Give that name to the application, "
            f"SqlKeyStore(..., name={name!r}), so that nobody can change it in the database."
        )


_HEADINGS = ["key", "version", "state", "created (UTC)"]


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those that all commands have."""
    selection.add_options(parser, help_="default: all keys")


def list_versions(arguments: argparse.Namespace, output: Output) -> int:
    """List them."""
    settings = Settings(arguments)
    with settings.open_engine() as engine:
        keys = settings.keys(engine, keys_needed=False)
        versions = selection.selected(arguments, keys, all_by_default=True).list()
    if not versions and not output.as_json:
        output.line(selection.says_nothing_found(arguments))
    else:
        _print_versions(versions, output)
    return exits.OK


def _print_versions(versions: list[KeyVersion], output: Output) -> None:
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


def _state(version: KeyVersion, has_active: bool) -> str:
    if version.fault:
        return f"malformed: {version.fault}"
    if version.destroyed_at is not None:
        return f"{'retired' if has_active else 'destroyed'} {version.destroyed_at:%Y-%m-%d}"
    return "active" if version.active else "reads only"


def _document(version: KeyVersion) -> dict[str, Any]:
    return {
        "key_id": version.id,
        "version": version.version,
        "active": version.active,
        "created_at": version.created_at.isoformat(),
        "destroyed_at": version.destroyed_at.isoformat()
        if version.destroyed_at is not None
        else None,
        "number": version.number,
        "fault": version.fault or None,
    }
