"""An Alembic environment in a directory of its own, driven through Alembic's commands."""

from __future__ import annotations

import io
import itertools
import re
import textwrap
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    text,
)

from encfields import EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.message import read_header
from tests.attached import attach_with_kept_keys
from tests.servers.backends import Backend

WRAPPING_KEY = bytes(range(32))
SECRET = "very-secret-diagnosis"

ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine, pool

import encfields.alembic
from encfields import SqlKeyStore, keyrings

OPTIONS = dict(
    target_metadata=context.config.attributes.get("metadata"),
    transaction_per_migration={per_migration},
    render_item=encfields.alembic.render_item,
    encfields={settings},
    {options}
)
URL = {url!r}

if context.is_offline_mode():
    context.configure(url={offline_url!r}, literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(URL, poolclass=pool.NullPool)
    with engine.connect() as connection:
        {before}
        context.configure(connection=connection, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()
"""

REVISION = """
import sqlalchemy as sa
from alembic import op
from encfields.alembic import IndexColumn, SealedColumn

revision = {revision!r}
down_revision = {down!r}


def upgrade():
{up}


def downgrade():
{down_body}
"""


class Project:
    """The environment; revisions are added one after the other.

    :param directory: where to make it.
    :param backend: the database that it migrates.
    :param settings: Python code of ``context.configure(encfields=...)``.
    :param per_migration: ``transaction_per_migration``.
    :param options: Python code of further arguments of ``context.configure``.
    :param before: Python statement that runs on the connection before it is configured.
    """

    def __init__(
        self,
        directory: Path,
        backend: Backend,
        *,
        settings: str | None = None,
        per_migration: bool = True,
        options: str = "",
        before: str = "pass",
    ) -> None:
        self.backend = backend
        self.directory = directory
        self.output = io.StringIO()
        self.ini = directory / "alembic.ini"
        scripts = directory / "scripts"
        self.ini.write_text(f"[alembic]\nscript_location = {scripts}\npath_separator = os\n")
        self.config = Config(str(self.ini), output_buffer=self.output, stdout=io.StringIO())
        command.init(self.config, str(scripts))
        store = f"SqlKeyStore(keyrings.local(bytes.fromhex({WRAPPING_KEY.hex()!r})))"
        self.ini.write_text(f"[alembic]\nscript_location = {scripts}\npath_separator = os\n")
        (scripts / "env.py").write_text(
            ENVIRONMENT.format(
                url=backend.url_text,
                # Without a connection, only the URL tells MariaDB from MySQL.
                offline_url=backend.url_text.replace("mysql+", f"{backend.name}+"),
                per_migration=per_migration,
                settings=(settings or '{"key_store": STORE}').replace("STORE", store),
                options=options,
                before=before.replace("STORE", store),
            )
        )
        self._versions = scripts / "versions"
        self._numbers = itertools.count(1)
        self._last: str | None = None

    def revision(self, up: str, down: str = "pass") -> str:
        """Add a revision; gives its id."""
        name = f"r{next(self._numbers):02d}"
        code = REVISION.format(
            revision=name,
            down=self._last,
            up=textwrap.indent(textwrap.dedent(up).strip(), "    "),
            down_body=textwrap.indent(textwrap.dedent(down).strip(), "    "),
        )
        (self._versions / f"{name}.py").write_text(code)
        self._last = name
        return name

    def drop(self, revision: str) -> None:
        """Take the last revision away, which was not applied."""
        path = self._versions / f"{revision}.py"
        before = re.search(r"^down_revision = '(.*)'", path.read_text(), re.MULTILINE)
        self._last = before and before[1]
        path.unlink()

    def upgrade(self, revision: str = "head") -> None:
        command.upgrade(self.config, revision)

    def downgrade(self, revision: str) -> None:
        command.downgrade(self.config, revision)

    def script(self, revisions: str) -> str:
        """The SQL that ``--sql`` writes."""
        self.output.truncate(0)
        self.output.seek(0)
        command.upgrade(self.config, revisions, sql=True)
        return self.output.getvalue()

    def autogenerate(self, metadata: MetaData, *, keep: bool = True) -> str:
        """The code of a revision that autogenerate writes.

        :param keep: leave it among the revisions, after the last one.
        """
        self.config.attributes["metadata"] = metadata
        script: Any = command.revision(self.config, autogenerate=True)
        code = Path(script.path).read_text()
        if keep:
            self._last = script.revision
        else:
            Path(script.path).unlink()
        return code

    def version(self) -> str | None:
        """What the database says it is at."""
        with self.backend.create_engine().connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).first()
        return found[0] if found else None


class Clinic:
    """A table with encrypted columns, written through the library before Alembic is asked.

    :param backend: the database. :param rows: how many.
    """

    def __init__(self, backend: Backend, *, rows: int = 30, **options: Any) -> None:
        self._backend = backend
        self.engine: Engine = backend.create_engine()
        self.encryption: Encryption = attach_with_kept_keys(self.engine, WRAPPING_KEY)
        self.table = patient_table(MetaData(), **options)
        self.table.create(self.engine)
        values = [{"id": i, "ssn": f"{SECRET} {i}", "notes": SECRET} for i in range(1, rows + 1)]
        with self.engine.begin() as connection:
            connection.execute(insert(self.table), values)

    def deploy(self) -> None:
        """Begin anew, as a process that is started: it knows no key yet."""
        self.engine = self._backend.create_engine()
        self.encryption = attach(self.engine, store())

    def read(self, table: Table | None = None) -> list[tuple[Any, ...]]:
        """Everything, opened."""
        table = self.table if table is None else table
        with self.engine.connect() as connection:
            rows = connection.execute(table.select().order_by(table.c.id)).all()
            return [tuple(row) for row in rows]

    def versions(self, column: str = "ssn") -> set[str]:
        """Key versions of a column's values."""
        with self.engine.connect() as connection:
            found = connection.execute(text(f"SELECT {column} FROM {self.table.name}")).scalars()
            return {read_header(bytes(value)).version for value in found}

    def active(self, key_id: str = "default") -> str:
        """The key's active version, as the database has it."""
        return next(v.version for v in self.encryption.keys.list() if v.active and v.id == key_id)

    def damage(self, row_id: int) -> None:
        """Put bytes where a value was that are no message."""
        self.overwrite(row_id, b"not a message")

    def overwrite(self, row_id: int, value: bytes | None) -> None:
        """Put bytes where a value was."""
        statement = text("UPDATE patient SET ssn = :value WHERE id = :id").bindparams(
            bindparam("value", type_=LargeBinary)
        )
        with self.engine.begin() as connection:
            connection.execute(statement, {"value": value, "id": row_id})


def body_of(code: str, half: str = "upgrade") -> str:
    """The body of a revision's ``upgrade()`` or ``downgrade()``, as autogenerate wrote it."""
    body = code.partition(f"def {half}()")[2].partition("\ndef ")[0]
    return body[body.index("# ### commands") :]


def store() -> SqlKeyStore:
    """The key store that the environment has."""
    return SqlKeyStore(keyrings.local(WRAPPING_KEY))


def patient_table(
    metadata: MetaData, table_name: str = "patient", *more: Column[Any], **options: Any
) -> Table:
    """The declaration of the table.

    :param more: columns beside its own.
    :param options: for the ``EncryptedType`` of the column ``ssn``.
    """
    return Table(
        table_name,
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        *more,
        Column("ssn", EncryptedType(String, **options)),
        Column("notes", EncryptedType(String)),
    )


def declared(**options: Any) -> MetaData:
    """The models of an application whose ``patient.ssn`` is encrypted with these options."""
    metadata = MetaData()
    patient_table(metadata, **options)
    return metadata
