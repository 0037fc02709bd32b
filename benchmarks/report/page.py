"""Writes docs/benchmarks.md and its charts from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.page import AGAIN, FIRST
from benchmarks.report.chart import bars
from benchmarks.report.measure import ROOT, were_quick
from benchmarks.value import FLOOR, OURS, OURS_AGAIN, OURS_IN_BATCHES, STOCK

PAGE = ROOT / "docs" / "benchmarks.md"
CHARTS = ROOT / "docs" / "benchmarks"

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB", "mariadb": "MariaDB"}
CORES = {"python": "Python", "native": "compiled core"}
Measured = dict[str, Any]


class Section(NamedTuple):
    """A part of the page: its text, and its charts by file name."""

    text: str
    charts: dict[str, str]


def write(measured: Measured) -> Iterator[Path]:
    """Write the page and its charts; yields what was written."""
    sections = [make(measured) for make in SECTIONS]
    CHARTS.mkdir(exist_ok=True)
    for section in sections:
        for name, chart in section.charts.items():
            (CHARTS / f"{name}.svg").write_text(chart)
            yield CHARTS / f"{name}.svg"
    parts = [_head(measured), *(section.text for section in sections if section.text)]
    PAGE.write_text("\n\n".join(parts) + "\n")
    yield PAGE


def _head(measured: Measured) -> str:
    told = measured["report.machine-both"]
    servers = ", ".join(f"{NAMES[name]} {number}" for name, number in told["servers"].items())
    packages = ", ".join(f"{name} {number}" for name, number in told["packages"].items())
    short = "\n| in short | with fewer rows and rounds than the text says |" if were_quick() else ""
    machine = f"{told['cores']} cores, {told['processor']}, {told['system']}"
    return f"""\
# Benchmarks

`make bench` measures all of this and writes this page. Ratios are what to look at: in each
benchmark all contestants take turns in one run, so that what disturbs the machine disturbs them
alike. [Performance](performance.md) says what the figures mean and what else was measured.

| | |
|---|---|
| measured on | {told["date"]}; the machine's load at the end was {told["load"]:.1f} |{short}
| machine | {machine}; databases and clients share them |
| Python | {told["python"]} |
| databases | {servers} |
| packages | {packages} |"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _of_databases(corner: str, by_core: dict[str, Any], names: Sequence[str]) -> str:
    """A table of ratios: a line for each name, a column for each database and core."""
    results = next(iter(by_core.values()))
    columns = [(place, core) for place in range(len(results)) for core in by_core]
    head = [f"{NAMES[results[place]['database']]}, {core}" for place, core in columns]
    lines = [
        [name, *(f"{by_core[core][place]['ratios'][name]:.2f}x" for place, core in columns)]
        for name in names
    ]
    return _table([corner, *head], lines)


def _image(name: str, what: str) -> str:
    return f"![{what}](benchmarks/{name}.svg)"


def _by_core(measured: Measured, name: str) -> dict[str, Any]:
    """A benchmark's results by the core's name."""
    found = {CORES[core]: measured.get(f"{name}-{core}") for core in CORES}
    return {core: results for core, results in found.items() if results is not None}


# -- one value ------------------------------------------------------------------------------------


def value(measured: Measured) -> Section:
    """Sealing and opening one value, beside the rivals."""
    by_core = _by_core(measured, "value")
    if not by_core:
        return Section("", {})
    rows: dict[str, dict[str, Any]] = {}
    for core, results in by_core.items():
        for one in results["results"]:
            if one["name"] == OURS:
                rows[f"{OURS}, {core}"] = one
            elif one["name"] in (OURS_AGAIN, OURS_IN_BATCHES):
                rows[f"{one['name']}, {core}"] = one
            elif not one["name"].startswith(OURS):
                rows.setdefault(one["name"], one)
    table = _table(
        ["one value of 11 bytes", "seal, µs", "open, µs", "seal, of bare", "open, of bare"],
        [
            [
                name,
                f"{one['seal_us']:,.1f}",
                f"{one['open_us']:,.1f}",
                f"{one['seal_of_floor']:.2f}x",
                f"{one['open_of_floor']:.2f}x",
            ]
            for name, one in rows.items()
        ],
    )
    shown = {name: (one["seal_us"], one["open_us"]) for name, one in rows.items() if name != STOCK}
    chart = bars("One value of 11 bytes, µs: shorter is better", shown, ["seal", "open"])
    text = f"""\
## One value

{_image("value", "Microseconds to seal and to open one value")}

{table}

"{FLOOR}" derives one key and makes one AES-GCM call: what any scheme with a key for each value
pays. The rivals use one key for everything and bind a value to nothing. "{STOCK}" has its keyring
and its cache warm; it is left out of the chart, where nothing else could be told apart beside it.
Everything opens a value as when it is read for the first time, but for "{OURS_AGAIN}", which was
opened before: its data key is in the [cache](performance.md#what-is-read-again).
(`python -m benchmarks.value`)"""
    return Section(text, {"value": chart})


# -- rows -----------------------------------------------------------------------------------------

ORM = ("insert, UUID key", "insert, generated key", "read, UUID key", "read, integer key")


def rows(measured: Measured) -> Section:
    """Rows through the ORM."""
    by_core = _by_core(measured, "orm")
    if not by_core:
        return Section("", {})
    databases = [one["database"] for one in next(iter(by_core.values()))]
    groups = {
        f"{NAMES[database]}: {name}": [by_core[core][place]["ratios"][name] for core in by_core]
        for name in ORM
        for place, database in enumerate(databases)
    }
    chart = bars("ORM rows, of plaintext", groups, list(by_core), unit="x", line=1)
    text = f"""\
## Rows through the ORM

{_image("orm", "How many times as long as plaintext ORM rows take")}

{_of_databases("of plaintext", by_core, ORM)}

10,000 rows with one encrypted column, read as for the first time, the garbage collector off.
(`python -m benchmarks.orm`)"""
    return Section(text, {"orm": chart})


def lazy(measured: Measured) -> Section:
    """Rows whose values stay closed."""
    by_core = _by_core(measured, "lazy")
    if not by_core:
        return Section("", {})
    names = list(next(iter(by_core.values()))[0]["ratios"])
    text = f"""\
## Lazy values

{_of_databases("read, of plaintext", by_core, names)}

A [lazy column](lazy-values.md)'s rows open nothing until somebody asks. Values are opened as when
they are read for the first time.
(`python -m benchmarks.lazy`)"""
    return Section(text, {})


# -- a page ---------------------------------------------------------------------------------------


def page(measured: Measured) -> Section:
    """A page as an application serves it."""
    found = measured.get("page-both")
    if not found:
        return Section("", {})
    table_rows, groups = [], {}
    for core, figures in found.items():
        for name, one in figures.items():
            how, _ = name.rsplit(", ", 1)
            kept = 100 * one["pages a second"] / figures[f"{how}, plaintext"]["pages a second"]
            table_rows.append(
                [
                    f"{core}: {name}",
                    f"{one['pages a second']:.0f}",
                    f"{one['p99 ms']:.1f}",
                    f"{one['CPU ms']:.2f}",
                    f"{kept:.0f} %",
                ]
            )
            for reading, kind in ((FIRST, "first"), (AGAIN, "again")):
                if name.endswith(reading):
                    groups.setdefault(f"{how}, read {kind}", []).append(kept)
    head = ["", "pages a second", "p99, ms", "processor, ms", "kept of plaintext"]
    title = "Encrypted pages, of plaintext's throughput: longer is better"
    chart = bars(title, groups, list(found), unit=" %", line=100)
    text = f"""\
## A page

{_image("page", "What pages of encrypted values keep of the throughput of plaintext")}

{_table(head, table_rows)}

50 rows with three encrypted columns, from PostgreSQL, every one of the 150 values opened. "Read
first" opens each as when it is read for the first time; "read again" as when it was read before and
its data key is in the [cache](performance.md#what-is-read-again), which holds all of this table's
1,800. "Lazy and closed" shows none of them. Behind FastAPI each request goes through the whole
application, and its answer is checked and turned into JSON by a `response_model`. The processor's
time is this process's alone, without the database's. (`python -m benchmarks.page`)"""
    return Section(text, {"page": chart})


# -- look-ups and bulk ----------------------------------------------------------------------------

LOOKUP = "microseconds per look-up"


def lookups(measured: Measured) -> Section:
    """Look-ups by blind index."""
    by_core = _by_core(measured, "index")
    if not by_core:
        return Section("", {})

    def ratio(result: dict[str, Any], how: str) -> float:
        found = result[LOOKUP]
        return float(found[f"{how}, encrypted"] / found[f"{how}, plain"])

    groups = {
        f"{NAMES[result['database']]}: {how}": [
            ratio(results[place], how) for results in by_core.values()
        ]
        for place, result in enumerate(next(iter(by_core.values())))
        for how in ("Core", "ORM")
    }
    table = _table(
        ["of a plain index", *by_core],
        [[name, *(f"{one:.2f}x" for one in numbers)] for name, numbers in groups.items()],
    )
    chart = bars("One row found, of a plain index", groups, list(by_core), unit="x", line=1)
    text = f"""\
## Look-ups by blind index

{_image("index", "How many times as long as by a plain index a look-up takes")}

{table}

One row among 1,000,000, found by its value and decrypted as for the first time.
(`python -m benchmarks.index`)"""
    return Section(text, {"index": chart})


def bulk(measured: Measured) -> Section:
    """Bulk re-encryption."""
    by_core = _by_core(measured, "reencrypt")
    if not by_core:
        return Section("", {})
    wanted: dict[str, tuple[str, Callable[[Any], str]]] = {
        "rows a second, one worker": ("rows per second, one worker", lambda n: f"{n:,.0f}"),
        "rows a second, two workers": ("rows per second, two workers", lambda n: f"{n:,.0f}"),
    }
    ratios = list(next(iter(by_core.values()))[0]["ratios"])
    columns = [(core, one) for core, results in by_core.items() for one in results]
    table_rows = [
        [name, *(shown(one[key]) for _, one in columns)] for name, (key, shown) in wanted.items()
    ]
    table_rows += [[name, *(f"{one['ratios'][name]:.2f}" for _, one in columns)] for name in ratios]
    head = [f"{columns[0][1]['rows']:,} rows"]
    head += [f"{NAMES[one['database']]}, {core}" for core, one in columns]
    groups = {
        f"{NAMES[one['database']]}, {core}": [one[key] for key, _ in wanted.values()]
        for core, one in columns
    }
    chart = bars("Rows re-encrypted in a second", groups, ["one worker", "two workers"])
    text = f"""\
## Bulk re-encryption

{_image("reencrypt", "Rows re-encrypted in a second")}

{_table(head, table_rows)}

Each row holds 250 bytes; the final sweep is included, and the database shares the cores. "The one
statement" is an `UPDATE` of all rows, "cipher" opening and sealing as many values by the same core,
each by itself. "Its own statements" are a run's batch reads and compare-and-set writes, which the
driver alone executes. (`python -m benchmarks.reencrypt`)"""
    return Section(text, {"reencrypt": chart})


SECTIONS: tuple[Callable[[Measured], Section], ...] = (value, rows, lookups, page, lazy, bulk)
