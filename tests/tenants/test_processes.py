"""Processes that are started anew, or forked while keys are in use and renewed."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

import pytest
from sqlalchemy import (
    create_engine,
    insert,
    select,
)

from encfields import SqlKeyStore, attach, keyrings
from encfields.engine import engine_encryption
from tests.forked import processes
from tests.servers.backends import Backend
from tests.tenants.invoices import invoice_table
from tests.waiting import PATIENCE


def write_and_read(url: str, key: bytes, number: int) -> str:
    """What such a worker does: everything of its own."""
    engine, table = create_engine(url), invoice_table()
    encryption = attach(engine, SqlKeyStore(keyrings.local(key)), create=True)
    with engine.begin() as connection:
        row = {"id": number, "tenant_id": number % 3, "iban": f"of {number % 3}"}
        connection.execute(insert(table), row)
        mine = select(table.c.iban).where(table.c.id == number)
        told = str(connection.execute(mine).scalar_one())
    encryption.detach()
    engine.dispose()
    return told


def test_workers_that_are_started_anew_use_the_same_tenants_keys(
    postgresql: Backend, wrapping_key: bytes
) -> None:
    invoice_table().create(postgresql.create_engine())
    with ProcessPoolExecutor(2, mp_context=processes()) as pool:
        jobs = [
            pool.submit(write_and_read, postgresql.url_text, wrapping_key, number)
            for number in range(6)
        ]
        told = [job.result(PATIENCE) for job in jobs]

    assert told == [f"of {number % 3}" for number in range(6)]
    encryption = attach(postgresql.create_engine(), SqlKeyStore(keyrings.local(wrapping_key)))
    made = [one.id for one in encryption.keys.list() if one.id != "default"]
    assert sorted(made) == ["tenant/0", "tenant/1", "tenant/2"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_forked_under_load_never_hang(postgresql: Backend):
    """Forked while other threads fetch, renew and prefetch keys, whose locks nobody lets go."""
    key = secrets.token_bytes(32)
    store = SqlKeyStore(keyrings.local(key), engine=postgresql.create_engine())
    store.create_table()
    ids = [f"tenant/{number}" for number in range(8)]
    for key_id in ids:
        store.create(key_id)
    encryption = attach(postgresql.create_engine(), store, cache_ttl=0.2, cache_renewal=0.1)
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            encryption.prefetch(ids)
            for key_id in ids:
                engine_encryption(encryption).active_key(key_id)
            time.sleep(0.001)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            os._exit(child(encryption, ids))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    encryption.detach()

    assert codes == [0] * 8


def child(encryption, ids) -> int:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(120)  # a child that hangs ends by a signal, which is its exit code
    try:
        assert encryption.prefetch(ids) == len(ids)
        message = encryption.seal(b"x", {}, key=ids[0])
        assert encryption.open(message, {}, "tenant/0") == b"x"
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
