"""A command's settings: from options, then from the environment, then from ``encfields.toml``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from encfields.bulk.rows.spec import TableSpec
from encfields.cli.config_file import FILE_NAME, read_file
from encfields.cli.database import Database, require_file
from encfields.cli.key_store import (
    DYNAMODB,
    KEYRING_FORMS,
    NoKeyring,
    any_key_store_of,
    key_store_of,
)
from encfields.cli.parsing import names_a_file
from encfields.cli.targets import specs_from_file, specs_from_models, specs_from_options
from encfields.engine import Encryption, attach
from encfields.errors import ConfigurationError
from encfields.keys.admin import KeyAdmin
from encfields.keys.cache.key_cache import KeyCache
from encfields.keys.dynamodb.store import DynamoDbKeyStore
from encfields.keys.sql.schema import TABLE_NAME
from encfields.keys.sql.store import SqlKeyStore
from encfields.value_counter import ValueCounter

DATABASE_VARIABLE = "ENCFIELDS_DATABASE_URL"
KEYRING_VARIABLE = "ENCFIELDS_KEYRING"
KEY_STORE_VARIABLE = "ENCFIELDS_KEY_STORE"


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` and the options for database and keys."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    names_a_file(
        parser.add_argument(
            "--config",
            metavar="FILE",
            help=f"default: {FILE_NAME} of the working directory, if any",
        )
    )
    parser.add_argument(
        "--database",
        metavar="URL",
        help=f"SQLAlchemy URL of a synchronous driver; default ${DATABASE_VARIABLE}. A URL with "
        "a password belongs there or in the file, not on the command line",
    )
    parser.add_argument(
        "--engine",
        metavar="MODULE:NAME",
        help="the application's Engine or AsyncEngine, in place of a URL",
    )
    parser.add_argument(
        "--keyring", metavar="KEYRING", help=f"{KEYRING_FORMS}; default ${KEYRING_VARIABLE}"
    )
    parser.add_argument(
        "--key-table",
        metavar="NAME",
        help=f"[schema.]table of keys, or {DYNAMODB}TABLE[@NAME] for AWS's key store in "
        f"DynamoDB; default {TABLE_NAME}",
    )
    parser.add_argument(
        "--key-store",
        metavar="NAME",
        help="the key store's logical name, as given to SqlKeyStore(name=); default "
        f"${KEY_STORE_VARIABLE}, or the one in the key table",
    )


class Settings:
    """The settings of one run.

    :param arguments: the parsed command line.
    :raises ConfigurationError: the configuration file is missing or not valid.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._file = read_file(arguments.config)

    def _text(self, name: str, variable: str | None = None) -> str | None:
        """From the option, the environment or the file, in that order."""
        value: str | None = getattr(self._arguments, name, None)
        if value is None and variable is not None:
            value = os.environ.get(variable) or None
        return self._file.get(name) if value is None else value

    def engine(self) -> Engine:
        """A new engine on the database.

        :raises ConfigurationError: none is given, or it cannot be used. The URL is never repeated,
            because it may hold a password.
        """
        return self.database().new_engine()

    @contextmanager
    def open_engine(self, *, creates_tables: bool = False) -> Iterator[Engine]:
        """A new engine on the database, whose connections end with the block.

        :param creates_tables: whether the database may still be an SQLite file to be created.
        :raises ConfigurationError: as :meth:`engine`; or there is no such SQLite file.
        """
        engine = self.engine()
        if not creates_tables:
            require_file(engine)
        try:
            yield engine
        finally:
            engine.dispose()

    def database(self) -> Database:
        """The database, from options, environment or file, in that order.

        :raises ConfigurationError: none is given.
        """
        url, engine = self._arguments.database, self._arguments.engine
        if url is None and engine is None:
            url = os.environ.get(DATABASE_VARIABLE) or self._file.get("database")
            engine = None if url else self._file.get("engine")
        if url is None and engine is None:
            raise ConfigurationError(
                f"no database is given; give --database URL, ${DATABASE_VARIABLE}, --engine "
                f"MODULE:NAME, or database or engine in {FILE_NAME}",
                reason="no-database",
            )
        return Database(url) if url is not None else Database(engine=engine)

    def engine_place(self) -> str | None:
        """Where the application's engine is, whether or not it supplies the database."""
        return self._text("engine")

    def keyring_text(self) -> str | None:
        """The given keyring, as text."""
        return self._text("keyring", KEYRING_VARIABLE)

    def key_table_name(self) -> str:
        """The key table, with its schema if given."""
        return self._text("key_table") or TABLE_NAME

    def store_name(self) -> str | None:
        """The key store's logical name, if one was given."""
        return self._text("key_store", KEY_STORE_VARIABLE)

    def models(self) -> str | None:
        """Where the application's models are, as ``package.module:NAME``."""
        return self._text("models")

    def specs(self) -> list[TableSpec]:
        """The tables to work on.

        :raises ConfigurationError: none is named, or one without columns.
        """
        named = specs_from_options(self._arguments.targets or [])
        models = self.models()
        if models is not None and not any(spec.columns for spec in named):
            return specs_from_models(models, named)
        if not named and "tables" in self._file:
            named = specs_from_file(self._file["tables"])
        if not named:
            raise ConfigurationError(
                "no table is named; give --models MODULE:NAME, --table NAME --column NAME, or "
                f"[[tables]] in {FILE_NAME}",
                reason="no-table-named",
            )
        for spec in named:
            if not spec.columns:
                raise ConfigurationError(
                    f"no --column follows --table {spec.table}; name its encrypted columns",
                    reason="options",
                )
        return named

    def key_store(self, *, keys_needed: bool = True) -> SqlKeyStore:
        """The key store, to be bound to an engine.

        :param keys_needed: whether keys are opened or created, and not only listed.
        :raises ConfigurationError: a keyring is needed and none is given, or it is not usable.
        """
        if not keys_needed:
            return key_store_of(None, self.key_table_name(), self.store_name())
        keyring = self.keyring_text()
        if keyring is None:
            NoKeyring().build()
        return key_store_of(keyring, self.key_table_name(), self.store_name())

    def keys(self, engine: Engine, *, keys_needed: bool = True) -> KeyAdmin:
        """The administration of keys, without attaching anything to `engine`.

        :param keys_needed: whether keys are opened or made, and not only listed, counted or wiped.
        """
        return self.keys_in(self.store_on(engine, keys_needed=keys_needed), engine)

    def keys_in(self, store: SqlKeyStore | DynamoDbKeyStore, engine: Engine) -> KeyAdmin:
        """As :meth:`keys`, of a store that :meth:`store_on` has made."""
        return KeyAdmin(store, KeyCache(store), ValueCounter(engine))

    def store_on(
        self, engine: Engine, *, keys_needed: bool = True
    ) -> SqlKeyStore | DynamoDbKeyStore:
        """The key store, bound to `engine` if it needs one; as :meth:`keys`."""
        store = self._any_key_store(keys_needed)
        if isinstance(store, SqlKeyStore):
            store.bind(engine)
        return store

    def encryption(self, engine: Engine, *, keys_needed: bool = True) -> Encryption:
        """An encryption on `engine`."""
        return attach(engine, self._any_key_store(keys_needed))

    def _any_key_store(self, keys_needed: bool) -> SqlKeyStore | DynamoDbKeyStore:
        if self.key_table_name().startswith(DYNAMODB):
            return any_key_store_of(self.keyring_text(), self.key_table_name(), self.store_name())
        return self.key_store(keys_needed=keys_needed)
