"""A row's key that its writer chose so as to forge a line of a log, or to steer a terminal.

What an error and the command say is one line, with nothing in it that is not printable.
"""

from __future__ import annotations

import pytest
from sqlalchemy import Column, MetaData, String, Table, insert, select, text

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.cli.main import main
from encfields.errors import ContextMismatchError
from tests.servers.backends import Backend

FORGED = "INFO all is well"
KEY = f"x\n{FORGED}\r\x1b[2J\u202e"


@pytest.fixture
def stolen_into(sqlite: Backend) -> Table:
    """A table in which a row of that key holds another one's value."""
    table = Table(
        "vault",
        MetaData(),
        Column("id", String(80), primary_key=True),
        Column("v", EncryptedType()),
    )
    engine = sqlite.create_engine()
    table.create(engine)
    attach(engine, SqlKeyStore(keyrings.local(bytes(32))), create=True)
    with engine.begin() as connection:
        connection.execute(insert(table), {"id": "alice", "v": "secret"})
        connection.execute(text("INSERT INTO vault SELECT :id, v FROM vault"), {"id": KEY})
    return table


def test_an_error_is_one_printable_line(sqlite, stolen_into):
    engine = sqlite.create_engine()
    attach(engine, SqlKeyStore(keyrings.local(bytes(32))))
    with engine.connect() as connection, pytest.raises(ContextMismatchError) as caught:
        connection.execute(select(stolen_into.c.v)).all()
    assert caught.value.row == {"id": KEY}
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("command", ["status", "verify", "inspect"])
def test_no_command_prints_a_line_of_his(sqlite, stolen_into, command, capsys, tmp_path):
    (tmp_path / "key").write_text(bytes(32).hex())
    arguments = [command, "--database", sqlite.url_text]
    if command == "inspect":
        arguments += ["vault.v", KEY]
    else:
        arguments += ["--table", "vault", "--column", "v"]
    if command == "verify":
        arguments += ["--keyring", f"local:{tmp_path / 'key'}"]
    main(arguments)
    said = capsys.readouterr()
    assert "alice" in said.out
    for line in (said.out + said.err).splitlines():
        assert line.isprintable()
        assert not line.startswith(FORGED)
