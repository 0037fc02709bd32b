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
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.reencrypt import SPEC, Bench, attached
from benchmarks.support.databases import databases
from benchmarks.support.plans import Read, watched
from encfields.bulk.connections import Connections
from encfields.bulk.reencryption import Options, ProgressState, Reencryption
from encfields.bulk.rows.job import Job
from encfields.bulk.rows.key_order import Bounds
from encfields.bulk.rows.prepared_job import PreparedJob
from encfields.bulk.rows.reader import BatchReader
from encfields.bulk.runs.worker import row_work_of
from encfields.bulk.writers import writer_for

BATCH_ROWS = Options().batch_rows
BATCHES = 16
"""Explained at either end: more than it takes PostgreSQL to think of a plan for any values."""


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


def plans(bench: Bench) -> list[Read]:
    """What a batch reads, at most, of those at the table's start and of those at its end."""
    bench.encryption.keys.rotate("default")
    own = Connections(bench.engine)
    prepared = PreparedJob(Job(SPEC), own.reading())
    reader, writer = BatchReader(prepared), writer_for(prepared)
    values = row_work_of(prepared, bench.encryption)
    found = []
    for after in (-1, bench.rows - BATCHES * BATCH_ROWS - 1):
        most = Read(0, whole=False)
        with watched(own.writing(), "bench_document") as statements:
            for batch in range(BATCHES):
                start = (after + batch * BATCH_ROWS,)
                rows = reader.read(own.reading(), Bounds(start, None), BATCH_ROWS)
                changes = values.outcome_of(rows, reader).changes
                statements.clear()
                with own.writing().begin() as begun:
                    writer.write(begun.connection, changes)
                if not statements:
                    raise RuntimeError("the database told no plan")
                read = sum(one.rows for one in statements)
                whole = most.whole or any(one.whole for one in statements)
                most = Read(max(most.rows, read), whole)
        found.append(most)
    own.close()
    return found


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
        "rows read by a batch at the start": start.rows,
        "rows read by a batch at the end": end.rows,
        "scans of the whole table": int(start.whole) + int(end.whole),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--url", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [measure(url, rows) for url in databases(options.url) for rows in options.rows]
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
