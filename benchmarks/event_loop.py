"""How long an event loop stands still while keys are fetched, beside the same work without.

    python -m benchmarks.event_loop [--processes 5] [--rounds 20] [--json]

An asyncio application on PostgreSQL (asyncpg) and AWS KMS (moto, over a socket). A heart beats
every millisecond; how much later than it should it beats is the lag. For each kind of work, mixed:

* no fetch: the key is at hand, which is what SQLAlchemy, and whatever else this machine does,
  cost by themselves. Read the others beside it;
* key fetched: it is not;
* fetched at 5 ms: the same at Python's own switch interval, which encfields shortens meanwhile.

Each process is new: its first fetch makes the thread's KMS client, as well. Shown are the worst
beat of a sample (the median over samples), the 99th percentile of all beats, the worst of all, and
the share of samples in which a beat was more than 5 ms late.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from encfields import EncryptedType, Encryption, SqlKeyStore, attach, keyrings
from encfields.keys.fetching import switch_interval
from tests.servers import postgresql
from tests.servers.moto import ENVIRONMENT, Kms, MotoServer
from tests.servers.provision import existing, missing

BEAT = 0.001
"""Seconds between two beats of the heart."""

LIMIT = 0.005
"""Seconds for which a fetch may hold up the event loop."""

ID = uuid.UUID(int=1)


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    ssn: Mapped[str] = mapped_column(EncryptedType())


class Heart:
    """Seconds by which each beat came late."""

    def __init__(self) -> None:
        self.lags: list[float] = []

    async def beat(self) -> None:
        while True:
            due = time.perf_counter() + BEAT
            await asyncio.sleep(BEAT)
            self.lags.append(max(0.0, time.perf_counter() - due))


@contextlib.asynccontextmanager
async def beating() -> AsyncIterator[Heart]:
    heart = Heart()
    task = asyncio.create_task(heart.beat())
    await asyncio.sleep(0.01)
    heart.lags.clear()
    try:
        yield heart
        # Once more, so that what the last step held up is seen.
        await asyncio.sleep(2 * BEAT)
    finally:
        task.cancel()


Work = Callable[[AsyncEngine, Encryption], Awaitable[Any]]


async def flush(engine: AsyncEngine, encryption: Encryption) -> None:
    async with AsyncSession(engine) as session:
        session.add(Patient(ssn="123-45-6789"))
        await session.flush()


async def read(engine: AsyncEngine, encryption: Encryption) -> None:
    async with AsyncSession(engine) as session:
        await session.get_one(Patient, ID)


async def prefetch(engine: AsyncEngine, encryption: Encryption) -> None:
    await encryption.aprefetch()


async def core_rows(engine: AsyncEngine, encryption: Encryption) -> None:
    async with engine.connect() as connection:
        result = await connection.execute(select(Patient.ssn).where(Patient.id == ID))
        result.all()  # on the event loop, in no greenlet


WORK: dict[str, Work] = {
    "ORM flush": flush,
    "ORM read": read,
    "aprefetch()": prefetch,
    "Core rows": core_rows,
}


NO_FETCH, FETCHED, PLAIN = HOW = ("no fetch", "key fetched", "fetched at 5 ms")


@contextlib.contextmanager
def own_interval() -> Iterator[None]:
    """Leave Python's switch interval alone."""
    before, switch_interval.INTERVAL = switch_interval.INTERVAL, 1.0
    try:
        yield
    finally:
        switch_interval.INTERVAL = before


async def lags(work: Work, engine: AsyncEngine, encryption: Encryption) -> list[float]:
    async with beating() as heart:
        await work(engine, encryption)
    return heart.lags


async def child(options: argparse.Namespace) -> dict[str, list[list[float]]]:
    """One process: its first fetch, then fetches and the same work without one, mixed."""
    found: dict[str, list[list[float]]] = {}
    engine = create_async_engine(options.url)
    encryption = attach(
        engine, SqlKeyStore(keyrings.aws_kms(options.arn, endpoint_url=options.kms))
    )
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    found["first fetch of a process"] = [await lags(read, engine, encryption)]
    for work in WORK.values():  # what SQLAlchemy does but once
        await work(engine, encryption)
    gc.collect()
    jobs = [(name, how) for name in WORK for how in HOW] * options.rounds
    random.shuffle(jobs)
    for name, how in jobs:
        if how != NO_FETCH:
            encryption._cache.clear()
        with own_interval() if how == PLAIN else contextlib.nullcontext():
            sample = await lags(WORK[name], engine, encryption)
        found.setdefault(f"{name}, {how}", []).append(sample)
    encryption.detach()
    await engine.dispose()
    return found


def run_child(options: argparse.Namespace, url: str, kms: str, arn: str) -> Any:
    command = [sys.executable, "-m", "benchmarks.event_loop", "--child"]
    command += ["--url", url, "--kms", kms, "--arn", arn, "--rounds", str(options.rounds)]
    return json.loads(subprocess.check_output(command, text=True))


async def prepare(url: str, kms: str, arn: str) -> None:
    engine = create_async_engine(url)
    encryption = attach(engine, SqlKeyStore(keyrings.aws_kms(arn, endpoint_url=kms)))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await encryption.keys.acreate_table()
    await encryption.keys.acreate("default")
    async with AsyncSession(engine) as session:
        session.add(Patient(id=ID, ssn="123-45-6789"))
        await session.commit()
    encryption.detach()
    await engine.dispose()


def measure(options: argparse.Namespace) -> dict[str, list[list[float]]]:
    os.environ.update(ENVIRONMENT)
    server = existing(postgresql)
    if server is None:
        raise missing(postgresql)
    database = postgresql.ServerDatabase(server, f"encfields_bench_{uuid.uuid4().hex[:12]}")
    moto = MotoServer()
    try:
        url = database.url.set(drivername="postgresql+asyncpg")
        shown = url.render_as_string(hide_password=False)
        arn = Kms(moto.url).create_key()
        asyncio.run(prepare(shown, moto.url, arn))
        found: dict[str, list[list[float]]] = {}
        for _ in range(options.processes):
            for name, samples in run_child(options, shown, moto.url, arn).items():
                found.setdefault(name, []).extend(samples)
        return found
    finally:
        moto.stop()
        database.drop()


def figures(samples: list[list[float]]) -> dict[str, float]:
    worst = [max(one) for one in samples]
    beats = sorted(lag for one in samples for lag in one)
    return {
        "samples": len(samples),
        "median of worst (ms)": statistics.median(worst) * 1e3,
        "p99 of beats (ms)": beats[int(0.99 * (len(beats) - 1))] * 1e3,
        "worst (ms)": max(worst) * 1e3,
        "over 5 ms (%)": 100 * sum(one > LIMIT for one in worst) / len(worst),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    for hidden in ("--url", "--kms", "--arn"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(asyncio.run(child(options))))
        return
    told = {name: figures(samples) for name, samples in measure(options).items()}
    if options.json:
        print(json.dumps(told, indent=2))
        return
    table = Table(title="lag of an event loop", title_justify="left")
    table.add_column("what")
    for heading in next(iter(told.values())):
        table.add_column(heading, justify="right")
    for name in sorted(told, key=lambda one: one.partition(",")[0]):
        values = told[name]
        table.add_row(name, *(f"{value:,.1f}" for value in values.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
