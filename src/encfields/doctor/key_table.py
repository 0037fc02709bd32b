"""Checks the keys: whether their table exists, and they open in threads and in a forked child.

And whether the key versions that stored values name are among them.
"""

from __future__ import annotations

import os
import select
import signal
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine

from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.survey.census import Census, census
from encfields.bulk.survey.column_census import ColumnCensus
from encfields.doctor import Finding
from encfields.errors import EncFieldsError
from encfields.keys.dynamodb.store import DynamoDbKeyStore
from encfields.keys.sql.store import SqlKeyStore, table_behind
from encfields.keys.store import KeyStore
from encfields.keys.versions import DESTROYED, KeyVersion, KeyVersions

MAX_OPENED_KEYS = 50
"""Most active keys to open; each costs a KMS call."""

THREADS = 4

Store = SqlKeyStore | DynamoDbKeyStore


def check_key_table(store: Store, *, opens: bool) -> list[Finding]:
    """The table, and whether its active keys open.

    :param store: bound to its database, if it has one.
    :param opens: whether the store has a keyring that opens keys.
    """
    name = f"key table {_name(store)}"
    try:
        versions = store.list()
    except EncFieldsError as error:
        return [Finding(name, "problem", error.message)]
    active = [version for version in versions if version.active]
    gone = len({version.id for version in versions if version.destroyed_at is not None})
    detail = f"{len(active):,} keys, {len(versions):,} versions, {gone:,} destroyed"
    if not active:
        detail += "; make the first with `encfields keys create default`"
    findings = [Finding(name, "ok" if active else "problem", detail)]
    findings += [*_check_name(store), *_check_rows(versions)]
    if active:
        findings += _check_opening(store, active) if opens else [_not_opened()]
    return findings


def _name(store: Store) -> str:
    return store.table_name if isinstance(store, DynamoDbKeyStore) else store.table.fullname


def _check_name(store: Store) -> list[Finding]:
    """Whether the configuration names the key store, and not only the database."""
    if isinstance(store, DynamoDbKeyStore):
        return []
    check = "key store name"
    try:
        name = store.name
        table_behind(store).require_named()
    except EncFieldsError as error:
        return [Finding(check, "problem", error.message)]
    if table_behind(store).given_name is None:
        detail = (
            f"{name!r} is what the key table says, and whoever writes to the table can change it: "
            f"give SqlKeyStore(..., name={name!r}), and --key-store on the command line"
        )
        return [Finding(check, "warning", detail)]
    return [Finding(check, "ok", repr(name))]


def _check_rows(versions: list[KeyVersion]) -> list[Finding]:
    """A problem if some row is malformed."""
    faulty = [version for version in versions if version.fault]
    if not faulty:
        return []
    detail = "; ".join(
        f"{version.id!r} version {version.version!r:.60}: {version.fault}" for version in faulty[:3]
    )
    more = f" (and {len(faulty) - 3} more)" if len(faulty) > 3 else ""
    return [Finding("key rows", "problem", detail + more)]


def _not_opened() -> Finding:
    return Finding("active keys", "skipped", "no --keyring is given to open them with")


def _check_opening(store: Store, active: list[KeyVersion]) -> list[Finding]:
    # Oldest and newest, because keys that another keyring wrapped are among the oldest.
    ordered = sorted(active, key=lambda one: one.created_at)
    chosen = (
        ordered
        if len(ordered) <= MAX_OPENED_KEYS
        else ordered[: MAX_OPENED_KEYS // 2] + ordered[-25:]
    )
    with ThreadPoolExecutor(THREADS, thread_name_prefix="encfields-doctor") as pool:
        failures = [one for one in pool.map(lambda key: _failure(store, key.id), chosen) if one]
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return [Finding("active keys", "problem", failures[0] + more)]
    some = "" if len(chosen) == len(active) else f" of {len(active):,}"
    detail = f"{len(chosen):,}{some} opened, in {THREADS} threads"
    # Here too, so that the child inherits clients that were used.
    store.active(chosen[0].id)
    return [Finding("active keys", "ok", detail), check_fork(store, chosen[0].id)]


def _failure(store: Store, key_id: str) -> str | None:
    try:
        store.active(key_id)
        if isinstance(store, SqlKeyStore):
            store.list_beacons(key_id)
    except EncFieldsError as error:
        return str(error)
    return None


SECONDS = 30
"""Seconds after which a child is considered to hang."""


def check_fork(store: KeyStore, key_id: str) -> Finding:
    """Open a key, fork, and open it again in the child.

    :param store: bound to its database; it has opened the key before.
    """
    if not hasattr(os, "fork"):
        return Finding("forked child", "skipped", "this system does not fork")
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and newer warn about other threads, which the child does not touch.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(store, key_id, writing)
    os.close(writing)
    try:
        reply = _answer(reading)
    finally:
        os.close(reading)
        if _is_running(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if reply == "ok":
        reply = "a child that is forked after keys were used opens them, with clients of its own"
        return Finding("forked child", "ok", reply)
    reply = reply or "it ended, or hung, without an answer"
    return Finding("forked child", "problem", f"a forked child does not open keys: {reply}")


def _child(store: KeyStore, key_id: str, pipe: int) -> None:
    reply = "it failed"
    try:
        store.active(key_id)
        reply = "ok"
    except EncFieldsError as error:
        reply = str(error)
    finally:
        os.write(pipe, reply.encode()[:4000])
        os._exit(0)


def _answer(pipe: int) -> str:
    ready, _, _ = select.select([pipe], [], [], SECONDS)
    return os.read(pipe, 4000).decode() if ready else ""


def _is_running(pid: int) -> bool:
    """Whether it must be ended; one that has ended is reaped."""
    for _ in range(100):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        select.select([], [], [], 0.01)
    return True


MAX_COUNTED_ROWS = 10_000
"""Number of rows sampled from each table."""


def check_key_versions(
    engine: Engine, specs: Sequence[TableSpec], listed: Sequence[KeyVersion]
) -> list[Finding]:
    """Whether the values of some tables name existing key versions.

    :param listed: the key store's versions.
    """
    known = KeyVersions(listed)
    findings: list[Finding] = []
    for spec in specs:
        name = f"key versions of {spec.table}"
        try:
            findings += _findings(name, census(engine, spec, sample=MAX_COUNTED_ROWS), known)
        except EncFieldsError as error:
            findings.append(Finding(name, "skipped", error.message))
    return findings


def _findings(name: str, counted: Census, known: KeyVersions) -> list[Finding]:
    gone: list[Finding] = []
    for column in counted.columns:
        for (key_id, version), values in sorted(column.versions.items()):
            state = known.state(key_id, version)
            if known.opens(key_id, version):
                continue
            detail = f"{column.column}: {values:,} values do not open, {state}: {key_id} {version}"
            if state == DESTROYED:
                gone.append(Finding(name, "warning", detail))
                continue
            detail += "; is the key table from an older backup than they are?"
            gone.append(Finding(name, "problem", detail))
        if others := column.other_key.total():
            detail = (
                f"{column.column}: {others:,} values do not open, under a key id that is neither "
                "the column's nor a former one; `encfields verify` lists them"
            )
            gone.append(Finding(name, "problem", detail))
        gone += [
            Finding(f"values of {counted.table}", "problem", detail)
            for detail in _no_values(column)
        ]
    rows = f"{counted.rows:,} rows looked at"
    return gone or [Finding(name, "ok", f"all are in the key store ({rows})")]


def _no_values(column: ColumnCensus) -> Iterator[str]:
    """What stands in a column in the place of its own values."""
    if column.plaintext:
        yield (
            f"{column.column}: {column.plaintext:,} values are plaintext, and reading them is "
            "refused: `encfields status` lists some. Write them again through the application; "
            "EncryptedType(guard=True) has the database refuse others"
        )
    others = column.misplaced.total() + column.damaged.total()
    if others:
        yield (
            f"{column.column}: {others:,} values are damaged or of another row or column, and do "
            "not open; `encfields verify` lists them"
        )
