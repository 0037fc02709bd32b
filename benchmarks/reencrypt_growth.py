"""Whether a bulk run's pace and memory depend on the size of the table.

    python -m benchmarks.reencrypt_growth [--rows 100000 1000000] [--url URL] [--json]

For each size a table of 250-byte values is made, the key is rotated, and one worker in a process
of its own rewrites every value at full speed. Told are rows per second over the whole run, over
the first and the last tenth of the table, and the process's largest resident memory. Then the
statements of one batch at the table's start and of one at its end are explained: how many rows
they read, and whether any scan went over the whole table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import event

from benchmarks.reencrypt import SPEC, Bench, attached, default_urls
from encfields.reencrypt.batches import BatchReader, Bounds
from encfields.reencrypt.connections import Connections
from encfields.reencrypt.engine import Options, ProgressState, Reencryption
from encfields.reencrypt.job import Job
from encfields.reencrypt.values import values_of
from encfields.reencrypt.writers import writer_for

BATCH_ROWS = Options().batch_rows


def work(url: str, results: Any) -> None:
    """One worker's process: its report, its pace in tenths, its memory."""
    engine, encryption = attached(url)
    began, points = time.perf_counter(), [(0.0, 0)]

    def progress(state: ProgressState) -> None:
        if not state.sweep:
            points.append((time.perf_counter() - began, state.rows_done))

    options = Options(duty_cycle=1.0)
    report = Reencryption(engine, encryption, SPEC, options=options).run(progress=progress)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.put((report.rows_written, report.seconds, points, memory))


def tenths(points: list[tuple[float, int]], rows: int) -> tuple[float, float]:
    """Rows per second over the first and the last tenth of the table."""

    def at(row: float) -> float:
        for (before, low), (after, high) in pairwise(points):
            if low <= row <= high and high > low:
                return before + (after - before) * (row - low) / (high - low)
        return points[-1][0]

    end = points[-1][1]
    return rows / 10 / at(rows / 10), rows / 10 / max(at(end) - at(end - rows / 10), 1e-9)


def plans(bench: Bench) -> list[dict[str, Any]]:
    """What the statements of the first batch and of the last one read."""
    bench.encryption.keys.rotate("default")
    own = Connections(bench.engine)
    prepared = Job(SPEC).prepare(own.reading())
    reader, writer = BatchReader(prepared), writer_for(prepared)
    values = values_of(prepared, bench.encryption)
    found = []
    for after in (None, (bench.rows - BATCH_ROWS - 1,)):
        rows = reader.read(own.reading(), Bounds(after, None), BATCH_ROWS)
        changes = values.work(rows, reader).changes
        told: list[Any] = []
        explain = _explainer(bench.name, told)
        event.listen(own.engine, "before_cursor_execute", explain)
        with own.writing().begin() as begun:
            writer.write(begun.connection, changes)
        event.remove(own.engine, "before_cursor_execute", explain)
        read = [_read(bench.name, plan) for plan in told]
        found.append({"rows": sum(n for n, _ in read), "whole": any(whole for _, whole in read)})
    own.close()
    return found


def _explainer(name: str, told: list[Any]) -> Any:
    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if "bench_document" not in statement or statement.startswith(("EXPLAIN", "ANALYZE")):
            return
        verb = "EXPLAIN (ANALYZE, FORMAT JSON)" if name == "postgresql" else "EXPLAIN FORMAT=JSON"
        told.append(connection.exec_driver_sql(f"{verb} {statement}", parameters).scalar())

    return explain


def _read(name: str, told: Any) -> tuple[int, bool]:
    """Rows that a plan reads from the table, and whether it scans all of it."""
    if name == "postgresql":
        return _postgresql(told[0]["Plan"])
    tables = list(_tables(json.loads(told)))
    return sum(int(t["rows"]) for t in tables), any(t["access_type"] == "ALL" for t in tables)


def _tables(plan: Any) -> Iterator[dict[str, Any]]:
    """Every table of a MariaDB plan."""
    if isinstance(plan, dict) and "access_type" in plan:
        yield plan
    elif isinstance(plan, dict | list):
        for part in plan.values() if isinstance(plan, dict) else plan:
            yield from _tables(part)


def _postgresql(plan: dict[str, Any]) -> tuple[int, bool]:
    rows, whole = 0, False
    if plan.get("Relation Name") == "bench_document" and "Scan" in plan["Node Type"]:
        rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        rows, whole = round(rows * plan["Actual Loops"]), plan["Node Type"] == "Seq Scan"
    for child in plan.get("Plans", ()):
        more, also = _postgresql(child)
        rows, whole = rows + more, whole or also
    return rows, whole


def measure(url: str, rows: int) -> dict[str, Any]:
    """One size on one database."""
    began = time.perf_counter()
    bench = Bench(url, rows)
    try:
        bench.tidy()
        loaded = time.perf_counter() - began
        bench.encryption.keys.rotate("default")
        context = multiprocessing.get_context("spawn")
        results = context.SimpleQueue()
        process = context.Process(target=work, args=(url, results))
        process.start()
        written, seconds, points, memory = results.get()
        process.join()
        if written != rows:
            raise RuntimeError(f"{written} of {rows} rows were rewritten")
        first, last = tenths(points, rows)
        start, end = plans(bench)
    finally:
        bench.close()
    return {
        "database": bench.name,
        "rows": rows,
        "seconds to load": loaded,
        "seconds": seconds,
        "rows per second": rows / seconds,
        "rows per second, first tenth": first,
        "rows per second, last tenth": last,
        "MB of memory, at most": memory,
        "rows read by a batch at the start": start["rows"],
        "rows read by a batch at the end": end["rows"],
        "scans of the whole table": int(start["whole"]) + int(end["whole"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--url", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    urls = options.url or default_urls()
    if not urls:
        parser.error("name a database with --url")
    results = [measure(url, rows) for url in urls for rows in options.rows]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    table = RichTable(title="One worker over tables of growing size")
    table.add_column("")
    for result in results:
        table.add_column(f"{result['database']}\n{result['rows']:,}", justify="right")
    for name in list(results[0])[2:]:
        table.add_row(name, *(f"{result[name]:,.0f}" for result in results))
    Console().print(table)


if __name__ == "__main__":
    main()
