"""A page as an application shows it: 50 rows with three encrypted columns, from PostgreSQL.

    python -m benchmarks.page [--seconds 0.5] [--rounds 20] [--url URL] [--json]

It is served by a bare function and by FastAPI, called as its server calls it, and by synchronous
and asynchronous sessions; from plaintext, from encrypted columns and from lazy ones that the page
shows nothing of. "Read first" unwraps every value's data key, since its engine has no data key
cache; "read again" finds them in the cache, for the pages of a table whose values fit in it. Each
core that is there has a process of its own, in which all take turns. The garbage collector runs, as
it does for users.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NoReturn

from fastapi import FastAPI
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, String, create_engine, make_url, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.support.databases import databases
from encfields import EncryptedType, Sealed, SqlKeyStore, attach, keyrings
from encfields.native_core import status

ROWS, ON_A_PAGE = 600, 50
CORES = {"Python": "off", "native": "require"}
TARGETS = {
    "native": {"bare": 70, "FastAPI": 85},
    "Python": {"bare": 40},
}
"""Percent of the throughput that encrypted columns are to keep."""


class Base(DeclarativeBase):
    pass


class PlainPatient(Base):
    __tablename__ = "bench_page_plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(String(20))
    phone: Mapped[str] = mapped_column(String(30))
    note: Mapped[str] = mapped_column(String(200))


class SealedPatient(Base):
    __tablename__ = "bench_page_sealed"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[str] = mapped_column(EncryptedType(String(20)))
    phone: Mapped[str] = mapped_column(EncryptedType(String(30)))
    note: Mapped[str] = mapped_column(EncryptedType(String(200)))


class LazyPatient(Base):
    __tablename__ = "bench_page_lazy"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    ssn: Mapped[Sealed[str]] = mapped_column(EncryptedType(String(20), lazy=True))
    phone: Mapped[Sealed[str]] = mapped_column(EncryptedType(String(30), lazy=True))
    note: Mapped[Sealed[str]] = mapped_column(EncryptedType(String(200), lazy=True))


FIRST, AGAIN = "encrypted and read first", "encrypted and read again"
MODELS: dict[str, Any] = {
    "plaintext": PlainPatient,
    FIRST: SealedPatient,
    AGAIN: SealedPatient,
    "lazy and closed": LazyPatient,
}


@dataclass
class Named:
    """What a list of patients shows of one."""

    id: int
    name: str


@dataclass
class Shown(Named):
    """What a page about patients shows of each."""

    ssn: str
    phone: str
    note: str


def shown_of(model: Any) -> type[Named]:
    return Named if model is LazyPatient else Shown


def fill(engine: Engine) -> None:
    """Each table with the same rows."""
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for model in (PlainPatient, SealedPatient, LazyPatient):
            session.add_all(
                model(
                    id=number,
                    name=f"name {number}",
                    ssn=f"{number:03d}-45-6789",
                    phone=f"+43 1 {number:07d}",
                    note=f"seen on Tuesday, again in {number} days; sleeps badly, eats well",
                )
                for number in range(1, ROWS + 1)
            )
        session.commit()


# -- what serves a page -------------------------------------------------------------------------


def rows_of(model: Any) -> Any:
    first = random.randrange(1, ROWS - ON_A_PAGE)
    return select(model).where(model.id >= first).order_by(model.id).limit(ON_A_PAGE)


def as_shown(model: Any, rows: Sequence[Any]) -> list[dict[str, Any]]:
    if len(rows) != ON_A_PAGE:
        raise RuntimeError(f"{len(rows)} rows on a page")
    names = shown_of(model).__dataclass_fields__
    return [{name: getattr(row, name) for name in names} for row in rows]


def sync_page(engine: Engine, model: Any) -> Callable[[], list[dict[str, Any]]]:
    def page() -> list[dict[str, Any]]:
        with Session(engine) as session:
            return as_shown(model, session.scalars(rows_of(model)).all())

    return page


def async_page(engine: AsyncEngine, model: Any) -> Callable[[], Awaitable[list[dict[str, Any]]]]:
    async def page() -> list[dict[str, Any]]:
        async with AsyncSession(engine) as session:
            return as_shown(model, (await session.scalars(rows_of(model))).all())

    return page


def application(pages: dict[str, tuple[Any, Callable[[], Any]]]) -> Any:
    """A FastAPI application that serves each page at a path of its name."""
    app = FastAPI()
    for name, (model, page) in pages.items():
        app.add_api_route(f"/{name}", page, response_model=list[shown_of(model)])  # type: ignore[misc]
    return app


async def requested(app: Any, path: str) -> None:
    """One request, as an ASGI server hands it to the application.

    :raises RuntimeError: the answer is not a whole page.
    """
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    if sent[0]["status"] != 200 or body.count(b'"name":"') != ON_A_PAGE:
        raise RuntimeError(f"{path} was answered with {sent[0]['status']}")


# -- measuring ----------------------------------------------------------------------------------


@dataclass
class Served:
    """How pages of one kind are served.

    :ivar rounds: how long each page took, in seconds.
    :ivar cpu: how long this process computed for a page, in each round.
    """

    name: str
    call: Callable[[], Awaitable[object]]
    rounds: list[list[float]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        """One round: page after page for so long."""
        times: list[float] = []
        computed, ends = time.process_time(), time.perf_counter() + seconds
        while not times or time.perf_counter() < ends:
            began = time.perf_counter()
            await self.call()
            times.append(time.perf_counter() - began)
        self.rounds.append(times)
        self.cpu.append((time.process_time() - computed) / len(times))

    def figures(self) -> dict[str, float]:
        """Pages in a second, the median round's; and of all rounds' pages the 99th percentile."""
        pages = statistics.median(len(times) / sum(times) for times in self.rounds)
        every = sorted(time for times in self.rounds for time in times)
        return {
            "pages a second": pages,
            "p99 ms": 1000 * every[len(every) * 99 // 100],
            "CPU ms": 1000 * statistics.median(self.cpu),
        }


def awaitable(page: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    """A function as something to await, which costs less than a microsecond."""

    async def call() -> object:
        return page()

    return call


@dataclass
class Engines:
    """Two of one database, as its sessions are synchronous or not."""

    sync: Engine
    async_: AsyncEngine

    @classmethod
    def of(cls, url: str, *, data_key_cache: bool) -> Engines:
        """Engines that are attached."""
        async_url = make_url(url).set(drivername="postgresql+asyncpg")
        found = cls(create_engine(url), create_async_engine(async_url))
        for engine in (found.sync, found.async_):
            store = SqlKeyStore(keyrings.local(bytes(32)))
            attach(engine, store, create=True, data_key_cache=data_key_cache)
        return found

    async def dispose(self) -> None:
        self.sync.dispose()
        await self.async_.dispose()


def contestants(again: Engines, first: Engines) -> list[Served]:
    """All ways to serve pages, each under its name: how, and of what."""
    engines = {kind: first if kind == FIRST else again for kind in MODELS}
    sync = {kind: (model, sync_page(engines[kind].sync, model)) for kind, model in MODELS.items()}
    async_ = {
        kind: (model, async_page(engines[kind].async_, model)) for kind, model in MODELS.items()
    }
    apps: dict[str, Any] = {"sync": application(sync), "async": application(async_)}
    found = [Served(f"bare, sync, {kind}", awaitable(page)) for kind, (_, page) in sync.items()]
    found += [Served(f"bare, async, {kind}", page) for kind, (_, page) in async_.items()]
    for name, app in apps.items():
        for kind in MODELS:
            found.append(Served(f"FastAPI, {name}, {kind}", _requests(app, kind)))
    return found


def _requests(app: Any, kind: str) -> Callable[[], Awaitable[object]]:
    return lambda: requested(app, f"/{kind}")


async def measured(url: str, seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """Every contestant's figures, on tables that :func:`fill` made."""
    again = Engines.of(url, data_key_cache=True)
    first = Engines.of(url, data_key_cache=False)
    if not rounds:
        fill(again.sync)
    try:
        served = contestants(again, first)
        await read_all(again)
        for one in served:
            await one.run(seconds / 10)  # warm: statements are compiled, keys fetched
            one.rounds.clear()
            one.cpu.clear()
        for _ in range(rounds):
            for one in random.sample(served, len(served)):
                await one.run(seconds)
        return {one.name: one.figures() for one in served} if rounds else {}
    finally:
        await again.dispose()
        await first.dispose()


async def read_all(engines: Engines) -> None:
    """Read every value once, a page at a time."""
    for start in range(1, ROWS, ON_A_PAGE):
        page = select(SealedPatient).where(SealedPatient.id >= start).limit(ON_A_PAGE)
        page = page.order_by(SealedPatient.id)
        with Session(engines.sync) as session:
            session.scalars(page).all()
        async with AsyncSession(engines.async_) as session:
            (await session.scalars(page)).all()


def run(url: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Figures by core, each measured in a process of its own."""
    found: dict[str, Any] = {}
    asyncio.run(measured(url, seconds, rounds=0))
    for core, choice in CORES.items():
        arguments = ["--url", url, "--seconds", str(seconds), "--rounds", str(rounds), "--one"]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.page", *arguments],
            env={**os.environ, "ENCFIELDS_NATIVE": choice},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found[core] = json.loads(done.stdout)
    return found


def kept(figures: dict[str, dict[str, float]], name: str) -> float:
    """What a contestant keeps of the throughput of plaintext served in the same way, in percent."""
    how, _ = name.rsplit(", ", 1)
    plain = figures[f"{how}, plaintext"]["pages a second"]
    return 100 * figures[name]["pages a second"] / plain


def show(found: dict[str, Any]) -> None:
    table = Table(title=f"a page of {ON_A_PAGE} rows, three encrypted columns, PostgreSQL")
    table.add_column("")
    for column in ("pages a second", "p99, ms", "CPU ms", "kept of plaintext"):
        table.add_column(column, justify="right")
    for core, figures in found.items():
        for name, numbers in figures.items():
            table.add_row(
                f"{core}: {name}",
                f"{numbers['pages a second']:.0f}",
                f"{numbers['p99 ms']:.1f}",
                f"{numbers['CPU ms']:.2f}",
                f"{kept(figures, name):.0f} %",
            )
    console = Console()
    console.print(table)
    console.print(f"To reach, in percent of the throughput of plaintext: {TARGETS}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--url", help="of an empty database on PostgreSQL")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asyncio.run(measured(options.url, options.seconds, options.rounds))))
        return
    if not status().is_native:
        _without_native()
    with closing(databases([options.url] if options.url else None)) as urls:
        found = run(next(urls), options.seconds, options.rounds)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


def _without_native() -> NoReturn:
    sys.exit("the compiled core is not built here: make native")


if __name__ == "__main__":
    main()
