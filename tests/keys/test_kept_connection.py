"""On MariaDB and MySQL one connection of the store's own stays open, and is nobody else's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from encfields.keys.sql import kept_connection
from encfields.keys.sql.store import SqlKeyStore
from tests.keys.test_fork import in_child
from tests.waiting import until


class Watched:
    """A key store, and the numbers that the server gave to its engine's connections.

    :ivar opened: of all, in their order.
    """

    def __init__(self, engine: Engine, keyring) -> None:
        self.engine = engine
        self.opened: list[int] = []
        event.listen(
            engine, "connect", lambda connection, _: self.opened.append(number(connection))
        )
        self.store = SqlKeyStore(keyring, engine=engine)
        self.store.create_table()
        self.store.create("default")

    def open(self) -> set[int]:
        """Those that are still open, by what the server says to somebody else."""
        engine = create_engine(self.engine.url, poolclass=NullPool)
        with engine.connect() as connection:
            listed = connection.scalars(text("SELECT id FROM information_schema.processlist"))
            return set(self.opened) & set(listed)


def number(connection) -> int:
    return connection.thread_id()


@pytest.fixture
def watched(mariadb, keyring):
    found = Watched(mariadb.create_engine(), keyring)
    yield found
    found.engine.dispose()


def test_many_pieces_of_work_take_one_connection(watched):
    watched.store.active("default")
    watched.store.rotate("default")
    watched.store.newest_versions(["default"])

    assert len(watched.opened) == 1


def test_it_is_none_of_the_applications(watched):
    [own] = watched.open()
    with watched.engine.connect() as connection, connection.begin():
        theirs = number(connection.connection.dbapi_connection)
        watched.store.active("default")

        assert theirs != own
    assert watched.engine.pool.checkedin() == 1


def test_it_is_closed_with_the_engine(watched):
    assert watched.open()
    watched.engine.dispose()

    until(lambda: not watched.open())
    assert watched.store.active("default").id == "default"


def test_work_that_outlasts_the_engines_pool_leaves_no_connection_open(watched):
    def work(own: Engine) -> None:
        with own.connect():
            watched.engine.dispose()

    watched.store._table.run(work)

    until(lambda: not watched.open())


def test_what_another_process_committed_is_seen_by_it(watched, mariadb, keyring):
    """It has no transaction, whose snapshot would be an old one."""
    before = watched.store.newest_versions(["default"])
    made = SqlKeyStore(keyring, engine=mariadb.create_engine()).rotate("default")

    assert watched.store.newest_versions(["default"]) == {"default": made.version} != before
    assert len(watched.opened) == 1


@pytest.mark.parametrize("name", ["reset", "checkin"])
def test_it_shows_no_old_keys_in_a_transaction_that_a_listener_began(mariadb, keyring, name):
    engine = mariadb.create_engine(pool_reset_on_return=None)
    watched = Watched(engine, keyring)
    event.listen(engine, name, lambda connection, *_: look(connection))
    watched.store.newest_versions(["default"])
    made = SqlKeyStore(keyring, engine=mariadb.create_engine()).rotate("default")

    assert watched.store.newest_versions(["default"]) == {"default": made.version}
    assert len(watched.opened) == 2


def look(connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM encfields_keys")


def test_it_is_replaced_when_the_server_has_ended_it(watched, mariadb):
    [own] = watched.open()
    with mariadb.create_engine().connect() as other:
        other.exec_driver_sql(f"KILL {own}")
    until(lambda: not watched.open())

    assert watched.store.active("default").id == "default"
    assert len(watched.opened) == 2


def test_it_is_waited_for_no_longer_than_its_answer_may_take(watched, monkeypatch):
    """The host of the server may be gone, and say nothing."""
    answers = Event()
    monkeypatch.setattr(watched.engine.dialect, "do_ping", lambda _: answers.wait(30))
    monkeypatch.setattr(kept_connection, "ANSWERS_WITHIN", 0.01)
    found = [watched.store.active("default").id for _ in range(3)]

    assert found == ["default"] * 3
    assert len(watched.opened) == 4
    answers.set()
    until(lambda: not watched.open())


def test_after_half_a_minute_it_is_closed_before_another_is_opened(watched, monkeypatch):
    monkeypatch.setattr(kept_connection, "MOST_IDLE", 0.0)
    watched.store.active("default")

    until(lambda: watched.open() == {watched.opened[-1]})
    assert len(watched.opened) == 2


def test_it_is_closed_after_work_that_failed(watched):
    def work(own: Engine) -> None:
        with own.connect():
            raise LookupError

    with pytest.raises(LookupError):
        watched.store._table.run(work)

    until(lambda: not watched.open())


def test_threads_at_work_at_once_leave_one(watched):
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(watched.store.active, ["default"] * 40))

    assert {key.id for key in found} == {"default"}
    until(lambda: len(watched.open()) == 1)


def test_two_stores_of_one_engine_leave_one(watched, keyring):
    other = SqlKeyStore(keyring, engine=watched.engine)
    other.active("default")
    watched.store.active("default")

    assert len(watched.opened) == 1


def test_none_stays_open_where_the_application_keeps_none(mariadb, keyring):
    watched = Watched(mariadb.create_engine(poolclass=NullPool), keyring)
    watched.store.active("default")

    until(lambda: not watched.open())


def test_it_is_used_no_more_once_the_application_listens_to_its_connections(watched):
    """Its listener might set a role, without which the table is another."""
    heard = []
    event.listen(
        watched.engine, "checkout", lambda connection, *_: heard.append(number(connection))
    )
    watched.store.active("default")

    assert set(heard) == {watched.opened[-1]}
    assert len(watched.opened) == 2


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_connects_anew_and_leaves_its_parents_open(watched):
    def check():
        before = len(watched.opened)
        watched.store.active("default")
        watched.engine.dispose()
        return watched.store.active("default").id, len(watched.opened) - before

    assert in_child(check) == "('default', 2)"
    watched.store.active("default")
    assert len(watched.opened) == 1
