"""What a legacy table may have about it: an adoption leaves it as it is, or says what is in the
way before it changes anything."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    inspect,
    select,
    text,
)

from encfields import BlindIndex, EncryptedType, Plaintext, attach
from encfields.adopt import (
    Adoption,
    AdoptionError,
    adopt,
    begin_adoption,
    close_plaintext,
    compare_adopted,
    end_adoption,
    ensure_adopted,
    refill_plaintext,
    withdraw_adoption,
)
from encfields.adopt.advice import advice_before
from encfields.errors import DeclarationError
from encfields.testing import local_store
from tests.database import Database
from tests.servers.backends import Backend


def account(phase: str | None = "write-both") -> Table:
    adopts: Any = Plaintext("email", phase=phase) if phase else None  # type: ignore[arg-type]
    type_ = EncryptedType(String(60), name="account.email", index=BlindIndex(), adopts=adopts)
    key: Any = Column("id", Integer, primary_key=True, autoincrement=False)
    return Table("account", MetaData(), key, Column("email_enc", type_))


def make(db: Database, column: str = "email VARCHAR(60) NOT NULL", rest: str = "") -> Adoption:
    """The legacy table, with one row."""
    db.execute_plain(f"CREATE TABLE account (id INT NOT NULL PRIMARY KEY, {column}{rest})")
    db.execute_plain("INSERT INTO account (id, email) VALUES (1, 'ada@x')")
    return Adoption.of(account().c.email_enc)


def up_to_close(db: Database, adoption: Adoption) -> None:
    begin_adoption(db.engine, adoption)
    assert adopt(db.engine, db.encryption, adoption).finished
    ensure_adopted(db.engine, db.encryption, adoption)
    close_plaintext(db.engine, db.encryption, adoption)


def values(db: Database) -> list[str]:
    with db.engine.connect() as connection:
        return list(connection.scalars(select(account(None).c.email_enc)))


def columns(db: Database) -> set[str]:
    return {one["name"] for one in inspect(db.plain).get_columns("account")}


def test_a_foreign_key_that_refers_to_the_column_is_found_before_anything_changes(
    db: Database,
) -> None:
    adoption = make(db, "email VARCHAR(60) NOT NULL UNIQUE")
    db.execute_plain(
        "CREATE TABLE letter (id INT PRIMARY KEY, email VARCHAR(60), "
        "FOREIGN KEY (email) REFERENCES account (email) ON UPDATE CASCADE)"
    )
    db.execute_plain("INSERT INTO letter VALUES (1, 'ada@x')")
    with pytest.raises(AdoptionError, match="of letter refers to it"):
        begin_adoption(db.engine, adoption)
    assert columns(db) == {"id", "email"}


def test_a_key_that_the_database_itself_changes_is_found_before_anything_changes(
    db: Database,
) -> None:
    db.execute_plain("CREATE TABLE person (id INT NOT NULL PRIMARY KEY)")
    db.execute_plain("INSERT INTO person VALUES (1)")
    rest = ", FOREIGN KEY (id) REFERENCES person (id) ON UPDATE CASCADE"
    adoption = make(db, rest=rest)
    cascade = "changes id by itself, by ON UPDATE CASCADE of a foreign key to person, .* email_enc"
    with pytest.raises(AdoptionError, match=cascade) as caught:
        begin_adoption(db.engine, adoption)
    assert caught.value.reason == "in-the-way"
    assert columns(db) == {"id", "email"}


NEEDED = {
    "view": ["CREATE VIEW mail AS SELECT id, email FROM account"],
    "trigger": {
        "postgresql": [
            "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN NEW.id := NEW.id + 0 * length(NEW.email); RETURN NEW; END'",
            "CREATE TRIGGER mail BEFORE DELETE ON account FOR EACH ROW EXECUTE FUNCTION noted()",
        ],
        "mariadb": [
            "CREATE TRIGGER mail BEFORE DELETE ON account FOR EACH ROW SET @mail = OLD.email"
        ],
        "sqlite": [
            "CREATE TRIGGER mail BEFORE DELETE ON account BEGIN SELECT OLD.email; END"
        ],
    },
    "computed": ", mail VARCHAR(60) GENERATED ALWAYS AS (lower(email)) STORED",
    "unique": ", CONSTRAINT mail UNIQUE (id, email)",
    "check": ", CONSTRAINT mail CHECK (email IS NULL OR id > 0)",
}  # fmt: skip


def test_a_view_is_named_as_one_and_not_as_a_table_without_a_key(db: Database) -> None:
    adoption = make(db)
    db.execute_plain("ALTER TABLE account RENAME TO person")
    db.execute_plain("CREATE VIEW account AS SELECT id, email FROM person")
    with pytest.raises(DeclarationError, match="it is a view: name the table that its rows come"):
        begin_adoption(db.engine, adoption)
    db.execute_plain("DROP VIEW account")


@pytest.mark.parametrize("kind", NEEDED)
def test_what_needs_the_plaintext_column_is_named_before_it_is_dropped(
    db: Database, kind: str
) -> None:
    needed: Any = NEEDED[kind]
    adoption = make(db, rest=needed if isinstance(needed, str) else "")
    made = needed[db.backend.family] if isinstance(needed, dict) else needed
    for statement in made if isinstance(made, list) else ():
        db.execute_plain(statement)
    up_to_close(db, adoption)
    unnamed = kind == "unique" and db.name == "sqlite"
    with pytest.raises(AdoptionError, match="autoindex" if unnamed else "mail"):
        end_adoption(db.engine, adoption)
    assert "email" in columns(db)

    if kind in ("view", "trigger"):
        on = " ON account" if (kind, db.name) == ("trigger", "postgresql") else ""
        db.execute_plain(f"DROP {kind} mail{on}")
        end_adoption(db.engine, adoption)
        assert "email" not in columns(db)
    assert values(db) == ["ada@x"]


@pytest.mark.parametrize("kind", ["view", "trigger", "check", "unique"])
def test_what_needs_the_encrypted_column_is_named_before_it_is_withdrawn(
    db: Database, kind: str
) -> None:
    adoption = make(db, rest=", CONSTRAINT short CHECK (email <> '')" if kind == "view" else "")
    begin_adoption(db.engine, adoption)
    made: Any = {
        **NEEDED,
        "check": "ALTER TABLE account ADD CONSTRAINT mail CHECK (email_enc IS NULL OR id > 0)",
        "unique": "CREATE UNIQUE INDEX mail ON account (id, email_enc_bidx)",
    }[kind]
    made = made[db.backend.family] if isinstance(made, dict) else made
    if kind == "check" and db.name == "sqlite":
        pytest.skip("SQLite adds no CHECK to a table")
    for statement in [made] if isinstance(made, str) else made:
        db.execute_plain(re.sub(r"\bemail\b", "email_enc", statement))
    with pytest.raises(AdoptionError, match=r"the encrypted column is still needed: .*mail"):
        withdraw_adoption(db.engine, adoption)
    assert {"email", "email_enc", "email_enc_bidx"} <= columns(db)

    on = " ON account" if kind == "trigger" and db.name == "postgresql" else ""
    on = " ON account" if kind == "unique" and db.backend.family == "mariadb" else on
    what = {"check": "ALTER TABLE account DROP CONSTRAINT mail", "unique": f"DROP INDEX mail{on}"}
    db.execute_plain(what.get(kind, f"DROP {kind} mail{on}"))
    withdraw_adoption(db.engine, adoption)
    assert columns(db) == {"id", "email"}


def test_a_check_of_the_plaintext_column_alone_goes_with_it(postgresql: Backend) -> None:
    db = Database(postgresql)
    adoption = make(db, "email VARCHAR(60) CHECK (email <> '')")
    up_to_close(db, adoption)
    end_adoption(db.engine, adoption)
    assert values(db) == ["ada@x"]


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
def test_an_index_over_an_expression_goes_with_the_column(db: Database) -> None:
    if db.backend.family == "mariadb":
        pytest.skip("MariaDB has none, and MySQL's is named")
    adoption = make(db)
    db.execute_plain("CREATE UNIQUE INDEX folded ON account (lower(email))")
    db.execute_plain("CREATE INDEX mails ON account (id) WHERE email IS NOT NULL")
    of_others = {"pair": "(lower(email), id)", "part": "(id) WHERE email IS NOT NULL"}
    for name, on in of_others.items():
        db.execute_plain(f"CREATE UNIQUE INDEX {name} ON account {on}")
    up_to_close(db, adoption)
    for name in of_others:
        with pytest.raises(AdoptionError, match=f"the unique index {name} covers it and other"):
            end_adoption(db.engine, adoption)
        db.execute_plain(f"DROP INDEX {name}")
    if db.name == "postgresql":  # elsewhere any foreign key is named
        pair = "(id INT, email VARCHAR(60), PRIMARY KEY (id, email))"
        db.execute_plain(f"CREATE TABLE mailbox {pair}")
        db.execute_plain(
            "ALTER TABLE account ADD CONSTRAINT box FOREIGN KEY (id, email) REFERENCES mailbox"
        )
        with pytest.raises(AdoptionError, match="the foreign key box is on it and other columns"):
            end_adoption(db.engine, adoption)
        db.execute_plain("DROP TABLE mailbox CASCADE")
    end_adoption(db.engine, adoption)
    assert columns(db) == {"id", "email_enc", "email_enc_bidx"}


def test_a_column_that_no_row_can_be_without_is_refused(sqlite: Backend) -> None:
    key, computed = "mail VARCHAR(60), ", "GENERATED ALWAYS AS (lower(mail))"
    for column, refused in (
        (f"{key}email VARCHAR(60), PRIMARY KEY (id, email)", "part of the primary key"),
        (f"{key}email VARCHAR(60) {computed}, PRIMARY KEY (id)", "the database computes it"),
    ):
        db = Database(sqlite)
        db.execute_plain(f"CREATE TABLE account (id INT NOT NULL, {column})")
        with pytest.raises(AdoptionError, match=refused):
            begin_adoption(db.engine, Adoption.of(account().c.email_enc))
        assert "email_enc" not in columns(db)
        db.execute_plain("DROP TABLE account")


def test_a_name_that_the_catalog_has_otherwise_is_told(sqlite: Backend, mariadb: Backend) -> None:
    db = Database(sqlite)
    adoption = make(db, "EMAIL VARCHAR(60)")
    with pytest.raises(AdoptionError, match="one named 'EMAIL': name it as the database does"):
        begin_adoption(db.engine, adoption)

    db = Database(mariadb)
    db.execute_plain("CREATE TABLE account (id INT NOT NULL PRIMARY KEY, `e``mail` VARCHAR(60))")
    with pytest.raises(AdoptionError, match="misreads its name in the catalog for the backtick"):
        begin_adoption(db.engine, replace(adoption, plain="e`mail"))


def test_a_name_that_stands_elsewhere_in_the_schema_is_no_other_column(db: Database) -> None:
    """The table, a keyword and a text are called as the column is, on SQLite in comments too."""
    quoted = db.plain.dialect.identifier_preparer.quote_identifier("key")
    first, last = ("-- keys, all\n", "-- the key\n") if db.name == "sqlite" else ("", "")
    db.execute_plain(
        f"CREATE TABLE {quoted} ({first}id INT NOT NULL, {quoted} VARCHAR(60) NOT NULL{last}, "
        f"kind VARCHAR(9), parent INT, PRIMARY KEY (id), UNIQUE ({quoted}), "
        f"FOREIGN KEY (parent) REFERENCES {quoted} (id), "
        "CONSTRAINT kinds CHECK (kind IN ('key', 'none')))"
    )
    db.execute_plain(f"CREATE INDEX by_kind ON {quoted} (kind)")
    db.execute_plain(f"INSERT INTO {quoted} (id, {quoted}, kind) VALUES (1, 'ada@x', 'key')")
    type_ = EncryptedType(String(60), name="key", index=BlindIndex(unique=True),
                          adopts=Plaintext("key", phase="write-both"))  # fmt: skip
    id_: Any = Column("id", Integer, primary_key=True, autoincrement=False)
    adoption = Adoption.of(Table("key", MetaData(), id_, Column("sealed", type_)).c.sealed)
    up_to_close(db, adoption)
    assert refill_plaintext(db.engine, db.encryption, adoption).finished
    withdraw_adoption(db.engine, adoption)
    up_to_close(db, adoption)
    end_adoption(db.engine, adoption)
    found = inspect(db.plain)
    assert {one["name"] for one in found.get_columns("key")} >= {"sealed", "kind", "parent"}
    indexed = {one["name"]: bool(one["unique"]) for one in found.get_indexes("key")}
    assert (indexed["by_kind"], indexed["ix_key_sealed_bidx"]) == (False, True)
    assert [one["name"] for one in found.get_check_constraints("key")] == ["kinds"]
    assert [one["referred_table"] for one in found.get_foreign_keys("key")] == ["key"]


def test_a_check_that_demands_plaintext_is_told_without_the_row(db: Database) -> None:
    demand = "CONSTRAINT there CHECK (email IS NOT NULL OR (id > 1 AND '100%:' = 'no''email'))"
    adoption = make(db, rest=f", {demand}")
    with db.plain.connect() as connection:
        *_, advice = advice_before(connection, account().c.email_enc, "email")
    assert advice.endswith("only email_enc: have it ask for email_enc too, before ensure.")
    with pytest.raises(AdoptionError, match="demands it, and rows will have only email_enc"):
        up_to_close(db, adoption)
    if db.name == "sqlite":  # which changes no CHECK of a table
        return
    enough = "CONSTRAINT enough CHECK (email IS NOT NULL OR email_enc IS NOT NULL)"
    for change in ("DROP CONSTRAINT there", f"ADD {enough}"):
        db.execute_plain(f"ALTER TABLE account {change}")
    ensure_adopted(db.engine, db.encryption, adoption)
    db.execute_plain("ALTER TABLE account ADD CONSTRAINT still CHECK (email IS NOT NULL)")
    with pytest.raises(AdoptionError, match="CHECK") as raised:
        close_plaintext(db.engine, db.encryption, adoption)
    assert raised.value.reason == "plaintext-required"
    assert raised.value.__cause__ is raised.value.__context__ is None
    db.execute_plain("ALTER TABLE account DROP CONSTRAINT still")
    close_plaintext(db.engine, db.encryption, adoption)


def test_a_definition_keeps_all_but_what_an_adoption_changes(db: Database) -> None:
    """Rules, defaults and comments that have the very words."""
    definitions = {
        "sqlite": "email VARCHAR(60) CHECK (email IS NOT NULL OR id > 0) NOT NULL "
        "DEFAULT ('NOT NULL' || 'y')",
        "postgresql": "email VARCHAR(60) NOT NULL DEFAULT 'NOT NULL'",
        "mariadb": "email ENUM('ada@x', 'is NOT NULL', '') NOT NULL DEFAULT 'is NOT NULL' "
        "COMMENT 'DEFAULT NULL'",
    }
    adoption = make(db, definitions[db.backend.family])
    up_to_close(db, adoption)
    with db.begin() as connection:
        connection.execute(insert(account(None)), {"id": 2, "email_enc": "eve@x"})
    refill_plaintext(db.engine, db.encryption, adoption) if db.backend.family != "mariadb" else None
    assert sorted(values(db)) == ["ada@x", "eve@x"]


# -- one database's own ------------------------------------------------------------------------


def test_a_table_that_is_made_anew_gives_no_key_twice(sqlite: Backend) -> None:
    db = Database(sqlite)
    id_, email = "id INTEGER PRIMARY KEY AUTOINCREMENT", "email VARCHAR(60) NOT NULL UNIQUE"
    db.execute_plain(f'CREATE TABLE account ({id_}, {email}, "a ""b"" [c]" INT)')
    db.execute_plain("INSERT INTO account (id, email) VALUES (1, 'ada@x'), (9, 'eve@x')")
    db.execute_plain("DELETE FROM account WHERE id = 9")
    adoption = Adoption.of(account().c.email_enc)
    up_to_close(db, adoption)
    end_adoption(db.engine, adoption)
    with db.plain.connect() as connection:
        assert connection.scalar(text("SELECT seq FROM sqlite_sequence")) == 9


def test_rows_that_a_policy_hides_do_not_count_as_missing(
    postgresql: Backend,
) -> None:
    db = Database(postgresql)
    adoption = make(db)
    role = f"r_{postgresql.url.database}"
    for statement in (
        f"CREATE ROLE {role} LOGIN",
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"ALTER TABLE account OWNER TO {role}",
        "ALTER TABLE account ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE account FORCE ROW LEVEL SECURITY",
        "CREATE POLICY own ON account USING (id = 2)",
    ):
        db.execute_plain(statement)
    engine = create_engine(postgresql.url.set(username=role))
    try:
        encryption = attach(engine, local_store(bytes(32)))
        for step in (begin_adoption, end_adoption):
            with pytest.raises(AdoptionError, match="row level security"):
                step(engine, adoption)
        with pytest.raises(AdoptionError, match="row level security"):
            compare_adopted(engine, encryption, adoption)
    finally:
        engine.dispose()
        for statement in (
            "ALTER TABLE account OWNER TO CURRENT_USER",
            f"DROP OWNED BY {role}",
            f"DROP ROLE {role}",
        ):
            db.execute_plain(statement)


def test_the_table_is_the_one_that_statements_find(postgresql: Backend) -> None:
    db = Database(postgresql)
    untouched = make(db)
    for name in ("SCHEMA front", "DOMAIN mail AS VARCHAR(60)", "DOMAIN needed AS TEXT NOT NULL"):
        db.execute_plain(f"CREATE {name}")
    options: dict[str, dict[str, Any]] = {
        "mapped": {"execution_options": {"schema_translate_map": {None: "mapped"}}},
        "behind": {"connect_args": {"options": "-csearch_path=front,behind"}},
    }
    for schema, given in options.items():
        table = f"{schema}.account (id INT PRIMARY KEY, email public.mail NOT NULL)"
        for statement in (f"CREATE SCHEMA {schema}", f"CREATE TABLE {table}"):
            db.execute_plain(statement)
        db.execute_plain(f"INSERT INTO {schema}.account VALUES (1, 'ada@x')")
        engine = postgresql.create_engine(**given)
        encryption = attach(engine, local_store(bytes(32)), create=True)
        begin_adoption(engine, untouched)
        assert adopt(engine, encryption, untouched).finished
        ensure_adopted(engine, encryption, untouched)
        close_plaintext(engine, encryption, untouched)
        end_adoption(engine, untouched)
        with engine.connect() as connection:
            assert connection.scalars(select(account(None).c.email_enc)).all() == ["ada@x"]
    assert columns(db) == {"id", "email"}

    db.execute_plain("ALTER TABLE account ALTER email TYPE needed")
    with pytest.raises(AdoptionError, match="its domain needed allows no NULL"):
        begin_adoption(db.engine, untouched)


def test_a_table_that_others_inherit_is_refused(postgresql: Backend) -> None:
    db = Database(postgresql)
    adoption = make(db)
    db.execute_plain("CREATE TABLE special () INHERITS (account)")
    with pytest.raises(AdoptionError, match="special inherits"):
        begin_adoption(db.engine, adoption)


def test_columns_that_the_server_updates_by_itself_stay_as_they_are(mariadb: Backend) -> None:
    """Also where the way back writes the plaintext again."""
    db = Database(mariadb)
    at = "TIMESTAMP NOT NULL DEFAULT '2001-01-01' ON UPDATE CURRENT_TIMESTAMP"
    adoption = make(db, rest=f", changed {at}")
    up_to_close(db, adoption)
    assert refill_plaintext(db.engine, db.encryption, adoption).finished
    with db.plain.connect() as connection:
        changed = connection.scalar(text("SELECT changed FROM account"))
    assert changed == dt.datetime(2001, 1, 1)


@pytest.mark.parametrize("mode", ["ANSI_QUOTES", "ORACLE", ""])
def test_an_sql_mode_changes_nothing(mariadb: Backend, mode: str) -> None:
    db = Database(mariadb)
    adoption = make(db)
    setting = {"init_command": f"SET SESSION sql_mode = '{mode}'"}
    engine = create_engine(mariadb.url, connect_args=setting)
    encryption = attach(engine, local_store(bytes(32)))
    begin_adoption(engine, adoption)
    assert adopt(engine, encryption, adoption).finished
    ensure_adopted(engine, encryption, adoption)
    close_plaintext(engine, encryption, adoption)
    end_adoption(engine, adoption)
    engine.dispose()
    assert values(db) == ["ada@x"]


def test_a_history_that_would_keep_plaintext_is_told(mariadb: Backend) -> None:
    db = Database(mariadb)
    adoption = make(db)
    db.execute_plain("ALTER TABLE account ADD SYSTEM VERSIONING")
    with pytest.raises(AdoptionError, match="history"):
        begin_adoption(db.engine, adoption)
