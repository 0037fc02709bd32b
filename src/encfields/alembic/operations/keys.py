"""The operations on keys and the key table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alembic.operations import MigrateOperation, Operations

from encfields.alembic.errors import IrreversibleError
from encfields.alembic.operations.base import BY_TABLE, ONE_KEY, OPTIONS, Operation
from encfields.alembic.operations.values import Columns
from encfields.arguments import kind, names
from encfields.bulk.rows.spec import TableSpec
from encfields.errors import DeclarationError
from encfields.expected_arguments import COUNT, TEXT, require_all
from encfields.keys.sql.schema import TABLE_NAME

KeyIds = str | Sequence[str]
"""One key, or several."""


def only(key_id: KeyIds) -> str | None:
    """The key, if there is only one."""
    return key_id if isinstance(key_id, str) else None


@Operations.register_operation("create_encryption_keys_table")
class CreateKeyTableOp(Operation):
    """Create the key table."""

    verb = "create_encryption_keys_table"

    def __init__(self, table_name: str, schema: str | None, if_not_exists: bool) -> None:
        self.table_name = table_name
        self.schema = schema
        self.if_not_exists = if_not_exists

    @classmethod
    def create_encryption_keys_table(
        cls,
        operations: Operations,
        table_name: str = TABLE_NAME,
        *,
        schema: str | None = None,
        if_not_exists: bool = False,
    ) -> None:
        """Create the table in which a ``SqlKeyStore`` stores its wrapped branch keys.

        :param table_name: as given to ``SqlKeyStore``.
        :param schema: as given to ``SqlKeyStore``.
        :param if_not_exists: do nothing if the table exists, for instance from
            ``attach(create=True)``.
        """
        require_all(OPTIONS | {"table_name": TEXT}, locals())
        operations.invoke(cls(table_name, schema, if_not_exists))

    def reverse(self) -> DropKeyTableOp:
        return DropKeyTableOp(self.table_name, self.schema, destroy_keys=False)

    def arguments(self) -> tuple[Any, ...]:
        return self.schema, self.table_name


@Operations.register_operation("drop_encryption_keys_table")
class DropKeyTableOp(Operation):
    """Drop the key table."""

    verb = "drop_encryption_keys_table"

    def __init__(self, table_name: str, schema: str | None, destroy_keys: bool) -> None:
        self.table_name = table_name
        self.schema = schema
        self.destroy_keys = destroy_keys

    @classmethod
    def drop_encryption_keys_table(
        cls,
        operations: Operations,
        table_name: str = TABLE_NAME,
        *,
        schema: str | None = None,
        destroy_keys: bool = False,
    ) -> None:
        """Drop the key table. Everything that its keys ever sealed is lost.

        :param table_name: as given to ``SqlKeyStore``.
        :param schema: as given to ``SqlKeyStore``.
        :param destroy_keys: drop it even if it holds keys. Every value that they sealed, in this
            database, its copies and its backups, becomes unreadable for good.
        :raises MigrationError: it holds keys, and `destroy_keys` is not set.
        """
        require_all(OPTIONS | {"table_name": TEXT}, locals())
        operations.invoke(cls(table_name, schema, destroy_keys))

    def reverse(self) -> CreateKeyTableOp:
        return CreateKeyTableOp(self.table_name, self.schema, if_not_exists=False)

    def arguments(self) -> tuple[Any, ...]:
        return self.schema, self.table_name


@Operations.register_operation("create_branch_key")
class CreateBranchKeyOp(Operation):
    """Create a branch key unless it exists."""

    verb = "create_branch_key"

    def __init__(self, key_id: KeyIds) -> None:
        self.key_id = key_id

    @classmethod
    def create_branch_key(cls, operations: Operations, key_id: KeyIds = "default") -> None:
        """Create a branch key, unless the id exists.

        It is committed on a separate connection, so it must come first in its revision. Running
        the revision again does nothing.

        :param key_id: for instance ``"default"``, at most 255 characters; or several ids. A failure
            of one does not stop the others.
        :raises MigrationError: something preceded it in the revision's transaction; or some of
            several keys failed.
        :raises KeyStoreError: KMS or the database is unreachable.
        """
        operations.invoke(cls(key_id))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "creating a key cannot be undone: values may have been sealed under it since, and are "
            "lost without it. Keep it on a downgrade (`pass`)",
            key_id=only(self.key_id),
            reason="create-key",
        )

    def arguments(self) -> tuple[Any, ...]:
        return (self.key_id,)


@Operations.register_operation("rotate_branch_key")
class RotateBranchKeyOp(Operation):
    """Create a new version of a branch key."""

    verb = "rotate_branch_key"

    def __init__(self, key_id: KeyIds) -> None:
        self.key_id = key_id

    @classmethod
    def rotate_branch_key(cls, operations: Operations, key_id: KeyIds = "default") -> None:
        """Create a new version of a branch key: it seals new values, and old ones stay readable.

        It is committed on a separate connection, like :func:`create_branch_key`. Running the
        revision again creates another version, which does no harm.

        :param key_id: the key, or several. A failure of one does not stop the others.
        :raises MigrationError: something preceded it in the revision's transaction; or some of
            several keys failed.
        :raises KeyStoreError: there is no such key, or KMS or the database is out of reach.
        """
        operations.invoke(cls(key_id))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a rotation cannot be undone: values are already under the new version, and old "
            "values stay readable anyway. Do nothing on a downgrade (`pass`)",
            key_id=only(self.key_id),
            reason="rotate-key",
        )

    def arguments(self) -> tuple[Any, ...]:
        return (self.key_id,)


@Operations.register_operation("rotate_beacon_key")
class RotateBeaconKeyOp(Operation):
    """Create a second version of a beacon key."""

    verb = "rotate_beacon_key"

    def __init__(self, key_id: str, version: int | None) -> None:
        self.key_id = key_id
        self.version = version

    @classmethod
    def rotate_beacon_key(
        cls, operations: Operations, key_id: str = "default", version: int | None = None
    ) -> None:
        """Create a second version of a branch key's beacon key, which its blind indexes use.

        This is the first of these steps. The application can run between any two:

        1. this, in a revision of its own;
        2. declare ``BlindIndex(versions=(1, 2))``: autogenerate adds the second column;
        3. deploy that everywhere, and :func:`fill_blind_index` the second column, ``reindex=True``;
        4. declare ``BlindIndex(versions=(2, 1))``, so that queries use the second, and deploy that;
        5. declare ``BlindIndex(versions=(2,))``: autogenerate drops the first column;
        6. :func:`retire_beacon_key`.

        :param key_id: the branch key.
        :param version: the new version's number, one more than the newest. With it, running the
            revision again, also on a database set up again, does nothing.
        :raises MigrationError: something preceded it in the revision's transaction, or `version` is
            not one more than the newest.
        :raises ConfigurationError: the key already has two beacon keys, or its store allows only
            one.
        :raises KeyStoreError: there is no such key, or KMS or the database is out of reach.
        """
        require_all(ONE_KEY | {"version": COUNT.or_none}, locals())
        operations.invoke(cls(key_id, version))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a rotation cannot be undone: rows may be indexed under the new version already. Do "
            "nothing on a downgrade (`pass`)",
            key_id=self.key_id,
            reason="rotate-beacon",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.key_id, self.version


@Operations.register_operation("retire_beacon_key")
class RetireBeaconKeyOp(Operation):
    """Wipe the older of two versions of a beacon key."""

    verb = "retire_beacon_key"

    def __init__(self, key_id: str, version: int, except_columns: tuple[str, ...]) -> None:
        self.key_id = key_id
        self.version = version
        self.except_columns = except_columns

    @classmethod
    def retire_beacon_key(
        cls,
        operations: Operations,
        key_id: str,
        version: int,
        *,
        except_columns: tuple[str, ...] = (),
    ) -> None:
        """Wipe the older of two versions of a beacon key, once no index uses it.

        Refused while the database has a column named like an index under that version, or the
        application declares one. Indexes declared under another key do not count. Only the
        migration's database is checked, not others that may use the key.

        :param key_id: the branch key.
        :param version: the number of the version.
        :param except_columns: ``"table.column"`` (with the schema if there is one) of columns that
            have such names but belong to another key, or to no index.
        :raises MigrationError: there is such a column; or something preceded the operation in the
            revision's transaction.
        :raises ConfigurationError: it is the newest version.
        :raises KeyStoreError: there is no such key, or the store is out of reach.
        """
        require_all(ONE_KEY | {"version": COUNT}, locals())
        operations.invoke(cls(key_id, version, names("except_columns", except_columns)))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a version that was wiped cannot be brought back: indexes that the downgrade adds "
            "under it stay empty, and must be declared under the newer one. Do nothing on a "
            "downgrade (`pass`)",
            key_id=self.key_id,
            reason="retire-beacon",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.key_id, self.version, self.except_columns


Tables = Mapping[str, Columns]
"""Encrypted columns by table, ``"table"`` or ``"schema.table"``."""


@Operations.register_operation("retire_branch_key")
class RetireBranchKeyOp(Operation):
    """Wipe a branch key's older versions."""

    verb = "retire_branch_key"

    def __init__(self, key_id: str, specs: Sequence[TableSpec], at_once: bool) -> None:
        self.key_id = key_id
        self.specs = tuple(specs)
        self.at_once = at_once

    @classmethod
    def retire_branch_key(
        cls, operations: Operations, key_id: str, tables: Tables, *, at_once: bool = False
    ) -> None:
        """Wipe every version of a branch key but the newest, once no value is under them.

        The last of three revisions: :func:`rotate_branch_key`, :func:`reencrypt`, and this one.
        Running it again does nothing.

        :param key_id: the branch key.
        :param tables: every table that may hold values under it, with its encrypted columns.
        :param at_once: do it even if the key was rotated less than ``cache_ttl`` ago, without
            waiting for other processes. Only if there are none.
        :raises MigrationError: something preceded it in the revision's transaction.
        :raises ConfigurationError: values are under an older version, or it was rotated just now.
        :raises KeyStoreError: there is no such key, or the store is out of reach.
        """
        require_all(ONE_KEY | {"tables": BY_TABLE}, locals())
        if not isinstance(tables, Mapping):
            raise DeclarationError(
                "tables= takes each table with its encrypted columns, as in "
                f'{{"patient": ["ssn"]}}, not {kind(tables)}',
                key_id=key_id,
                reason="tables",
            )
        operations.invoke(cls(key_id, [_spec(*entry) for entry in tables.items()], at_once))

    def reverse(self) -> MigrateOperation:
        raise IrreversibleError(
            "a version that was wiped cannot be brought back, and no value is under it. Do "
            "nothing on a downgrade (`pass`)",
            key_id=self.key_id,
            reason="retire-key",
        )

    def arguments(self) -> tuple[Any, ...]:
        return self.key_id, *(spec.full_name for spec in self.specs)


def _spec(name: str, columns: Columns) -> TableSpec:
    schema, _, table = name.rpartition(".")
    return TableSpec.of(table, columns, schema=schema or None)
