"""A trigger of the table's own that may assign the plaintext is told from one that compares it."""

from __future__ import annotations

import pytest

from encfields.adopt import Adoption, AdoptionError, adopt, begin_adoption, ensure_adopted
from encfields.adopt.own_triggers import may_assign
from tests.adoption.test_obstacles import account
from tests.database import Database

ASSIGNS = [
    "NEW.email := lower(NEW.email);",
    "begin new . email = 'x'; end",
    'IF NEW.id = 1 THEN NEW."email" = 2; END IF;',
    "IF NEW.email = '' THEN NEW.email := NULL; END IF;",
    "<<start>>\nNEW.email = 'x';",
    "-- what to do if\nNEW.email = 'x';",
    "NEW.email[1] := 'x';",
    "SET NEW.note = 1, NEW.`email` = 2",
    "UPDATE account SET note = 'n', email = 'x' WHERE id = 1;",
    "UPDATE account SET (note, email) = (1, 2);",
    "SELECT a, b INTO NEW.note, NEW.email FROM t;",
    "SELECT lower(NEW.email) INTO STRICT NEW.email;",
    "EXECUTE 'UPDATE account SET email = 1';",
    "NEW := jsonb_populate_record(NEW, '{\"email\": 1}');",
    "SELECT OLD.* INTO NEW; PERFORM OLD.email;",
]

COMPARES = [
    "IF NEW.email = OLD.email AND (NEW.email = '') THEN RETURN NEW; END IF;",
    "ELSIF\n  NEW.email = 'x' OR OLD.email='y' THEN NULL; END IF;",
    "AFTER UPDATE OF email ON account WHEN NEW.email = '' BEGIN SELECT 1; END",
    "UPDATE account SET note = 'n' WHERE note = 1 AND email = 'x';",
    "DELETE FROM letter WHERE email = OLD.email;",
    "RETURN NEW.email = 'x';",
    "changed := NEW.email = OLD.email; IF NEW = OLD THEN RETURN OLD; END IF;",
    "IF NEW.email == '' OR NEW.email <> 'x' OR NEW.email <= 'y' THEN NULL; END IF;",
    "SELECT NEW.email INTO found; NEW.note := NEW.email; NEW.email_note := 'x';",
    "NEW := NEW #= hstore('changed', now()::text);",
]


@pytest.mark.parametrize("sql", ASSIGNS)
def test_a_trigger_that_may_assign_the_column_is_seen(sql: str) -> None:
    assert may_assign(sql, "email")


@pytest.mark.parametrize("sql", COMPARES)
def test_a_trigger_that_only_reads_the_column_is_left_alone(sql: str) -> None:
    assert not may_assign(sql, "email")


def test_a_trigger_of_one_partition_is_seen(postgresql_db: Database) -> None:
    db = postgresql_db
    db.execute_plain(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, email VARCHAR(60)) PARTITION BY RANGE (id)"
    )
    db.execute_plain("CREATE TABLE low PARTITION OF account FOR VALUES FROM (0) TO (10)")
    db.execute_plain(
        "CREATE FUNCTION filled() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.email := coalesce(NEW.email, 'none'); RETURN NEW; END $$"
    )
    db.execute_plain("INSERT INTO account (id, email) VALUES (1, 'ada@x')")
    adoption = Adoption.of(account().c.email_enc)
    begin_adoption(db.engine, adoption)
    adopt(db.engine, db.encryption, adoption)
    db.execute_plain(
        "CREATE TRIGGER filled BEFORE INSERT OR UPDATE ON low FOR EACH ROW "
        "EXECUTE FUNCTION filled()"
    )
    with pytest.raises(AdoptionError, match="the trigger filled may assign it"):
        ensure_adopted(db.engine, db.encryption, adoption)
    db.execute_plain("ALTER TRIGGER filled ON low RENAME TO zzzz_filled")
    with pytest.raises(AdoptionError, match="'zzzz_filled' changes rows after"):
        ensure_adopted(db.engine, db.encryption, adoption)
    db.execute_plain("DROP TRIGGER zzzz_filled ON low")
    ensure_adopted(db.engine, db.encryption, adoption)
