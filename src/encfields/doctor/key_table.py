"""Whether the key table is there and the keys in it open, in threads and in a forked child."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from encfields.doctor.finding import Finding
from encfields.doctor.fork_probe import check_fork
from encfields.errors import EncFieldsError
from encfields.keys.dynamodb.store import DynamoDbKeyStore
from encfields.keys.sql.store import SqlKeyStore
from encfields.keys.store import KeyVersion

MAX_KEYS = 50
"""Active keys that are opened; each costs a KMS call."""

THREADS = 4

Store = SqlKeyStore | DynamoDbKeyStore


def check_key_table(store: Store, *, opens: bool) -> list[Finding]:
    """The table, and whether its active keys open.

    :param store: bound to its database, where it has one.
    :param opens: whether the store has a keyring that opens keys.
    """
    name = f"key table {_name(store)}"
    try:
        versions = store.list()
    except EncFieldsError as error:
        return [Finding(name, "problem", error.message)]
    active = [one for one in versions if one.active]
    gone = len({one.id for one in versions if one.destroyed_at is not None})
    detail = f"{len(active):,} keys, {len(versions):,} versions, {gone:,} destroyed"
    if not active:
        detail += "; make the first with `encfields keys create default`"
    found = [Finding(name, "ok" if active else "problem", detail)]
    found += [*_check_name(store), *_check_rows(versions)]
    if active:
        found += _check_opening(store, active) if opens else [_not_opened()]
    return found


def _name(store: Store) -> str:
    return store.table_name if isinstance(store, DynamoDbKeyStore) else store.table.fullname


def _check_name(store: Store) -> list[Finding]:
    """Whether the configuration says which key store it is, and not the database alone."""
    if isinstance(store, DynamoDbKeyStore):
        return []
    check = "key store name"
    try:
        name = store.name
        store.require_named()
    except EncFieldsError as error:
        return [Finding(check, "problem", error.message)]
    if store.given_name is None:
        detail = (
            f"{name!r} is what the key table says, and whoever writes to the table can change it: "
            f"give SqlKeyStore(..., name={name!r}), and --key-store on the command line"
        )
        return [Finding(check, "warning", detail)]
    return [Finding(check, "ok", repr(name))]


def _check_rows(versions: list[KeyVersion]) -> list[Finding]:
    """A problem if some row is malformed."""
    faulty = [one for one in versions if one.fault]
    if not faulty:
        return []
    detail = "; ".join(f"{one.id!r} version {one.version!r:.60}: {one.fault}" for one in faulty[:3])
    more = f" (and {len(faulty) - 3} more)" if len(faulty) > 3 else ""
    return [Finding("key rows", "problem", detail + more)]


def _not_opened() -> Finding:
    return Finding("active keys", "skipped", "no --keyring is given to open them with")


def _check_opening(store: Store, active: list[KeyVersion]) -> list[Finding]:
    # Oldest and newest: what another keyring wrapped is among the oldest.
    ordered = sorted(active, key=lambda one: one.created_at)
    chosen = ordered if len(ordered) <= MAX_KEYS else ordered[: MAX_KEYS // 2] + ordered[-25:]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="encfields-doctor") as pool:
        failures = [one for one in pool.map(lambda key: _failure(store, key.id), chosen) if one]
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return [Finding("active keys", "problem", failures[0] + more)]
    some = "" if len(chosen) == len(active) else f" of {len(active):,}"
    detail = f"{len(chosen):,}{some} opened, in {THREADS} threads"
    # Here as well, so that the child inherits clients that were used.
    store.active(chosen[0].id)
    return [Finding("active keys", "ok", detail), check_fork(store, chosen[0].id)]


def _failure(store: Store, key_id: str) -> str | None:
    try:
        store.active(key_id)
    except EncFieldsError as error:
        return str(error)
    return None
