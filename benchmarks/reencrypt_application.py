"""What a bulk run takes from an application that writes the same table meanwhile.

    python -m benchmarks.reencrypt_application [--rows 200000] [--rounds 5] [--seconds 8]
        [--duty-cycle D] [--url URL] [--json]

An application of one process updates four random rows a transaction, in descending order of their
keys, as fast as it can. In each round, in turn: alone, beside a run of one worker at the default
throttle, alone, beside one at full speed. A throughput beside a run is compared with the two
throughputs alone around it; the figures are medians over the rounds. Everything, the database
included, shares this machine's cores, so what is lost is the processor's time as well.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from sqlalchemy import update

from benchmarks.reencrypt import SPEC, VALUE_BYTES, Bench, Document, attached
from benchmarks.support.databases import databases
from encfields.bulk.reencryption import Options, Reencryption

ROWS_A_TRANSACTION = 4


@dataclass
class Application:
    """What an application got done.

    :ivar commits: transactions. :ivar milliseconds: how long each took.
    :ivar errors: those that failed, as a victim of a deadlock or otherwise.
    """

    commits: int = 0
    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.commits / self.seconds

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.milliseconds, n=100)[98]


def write(url: str, rows: int, seed: int, ready: Any, stop: Any, results: Any) -> None:
    """The application's process."""
    engine, _ = attached(url)
    chosen, result, statement = random.Random(seed), Application(), update(Document)
    began = 0.0
    while not stop.is_set():
        ids = sorted(chosen.sample(range(rows), ROWS_A_TRANSACTION), reverse=True)
        started = time.perf_counter()
        try:
            with engine.begin() as connection:
                for i in ids:
                    value = {"body": os.urandom(VALUE_BYTES)}
                    connection.execute(statement.where(Document.id == i).values(value))
        except Exception as error:  # counted, not explained
            result.errors.append(f"{type(error).__name__}: {type(getattr(error, 'orig', error))}")
            continue
        result.commits += 1
        result.milliseconds.append((time.perf_counter() - started) * 1000)
        if not ready.is_set() and result.commits >= 200:  # its keys and statements are warm
            result.commits, result.milliseconds = 0, []
            began = time.perf_counter()
            ready.set()
    result.seconds = time.perf_counter() - began
    engine.dispose()
    results.put(result)


class Rounds:
    """Measures one database.

    :param bench: the table. :param seconds: for which each measurement lasts.
    """

    def __init__(self, bench: Bench, seconds: float) -> None:
        self._bench = bench
        self._seconds = seconds
        self._seed = 0
        self._written: dict[str, int] = {}
        self.rows_per_second: dict[float, list[float]] = {}

    def application(self, duty: float | None) -> Application:
        """What the application gets done, alone (``None``) or beside a run."""
        self._bench.tidy()
        self._seed += 1
        context = multiprocessing.get_context("spawn")
        ready, stop, results = context.Event(), context.Event(), context.SimpleQueue()
        arguments = (self._bench.url, self._bench.rows, self._seed, ready, stop, results)
        process = context.Process(target=write, args=arguments)
        process.start()
        ready.wait()
        if duty is None:
            time.sleep(self._seconds)
        else:
            self._run_for(duty)
        stop.set()
        result: Application = results.get()
        process.join()
        return result

    def _run_for(self, duty: float) -> None:
        bench, stop = self._bench, threading.Event()
        timer = threading.Timer(self._seconds, stop.set)
        began, before_all = time.perf_counter(), sum(self._written.values())
        timer.start()
        run = Reencryption(bench.engine, bench.encryption, SPEC, options=Options(duty_cycle=duty))
        while not stop.is_set():
            bench.encryption.keys.rotate("default")
            before = time.perf_counter()
            report = run.run(stop=stop)
            # A run that was stopped is gone on with the next time, and tells all that it wrote.
            self._written[report.run_id] = report.rows_written
            if time.perf_counter() - before < 0.05:
                break  # a run that ends at once would be asked for again and again
        timer.join()
        speeds = self.rows_per_second.setdefault(duty, [])
        written = sum(self._written.values()) - before_all
        speeds.append(written / (time.perf_counter() - began))


def measure(url: str, rows: int, count: int, seconds: float, duty: float) -> dict[str, Any]:
    """All figures of one database."""
    bench = Bench(url, rows)
    rounds = Rounds(bench, seconds)
    kept: dict[float, list[float]] = {duty: [], 1.0: []}
    p99: dict[float | None, list[float]] = {None: [], duty: [], 1.0: []}
    errors: list[str] = []
    alone_rates: list[float] = []
    try:
        rounds.application(None)  # the first one also warms the table
        before = rounds.application(None)
        for _ in range(count):
            for pace in dict.fromkeys((duty, 1.0)):
                beside = rounds.application(pace)
                after = rounds.application(None)
                kept[pace].append(2 * beside.rate / (before.rate + after.rate))
                p99[pace].append(beside.p99)
                p99[None].append(after.p99)
                alone_rates.append(after.rate)
                errors += [*beside.errors, *after.errors]
                before = after
    finally:
        bench.close()
    return {
        "database": bench.name,
        "rows": rows,
        "duty cycle": duty,
        "throughput kept at it": statistics.median(kept[duty]),
        "throughput kept at it, each round": kept[duty],
        "throughput kept at full speed": statistics.median(kept[1.0]),
        "commits per second alone": statistics.median(alone_rates),
        "p99 alone, ms": statistics.median(p99[None]),
        "p99 beside it, ms": statistics.median(p99[duty]),
        "p99 at full speed, ms": statistics.median(p99[1.0]),
        "run's rows per second": statistics.median(rounds.rows_per_second[duty]),
        "run's rows per second at full speed": statistics.median(rounds.rows_per_second[1.0]),
        "errors (deadlocks)": len(errors),
        "what": sorted(set(errors)),
    }


def show(results: list[dict[str, Any]]) -> None:
    table = RichTable(title=f"An application beside a run over {results[0]['rows']:,} rows")
    table.add_column("")
    for result in results:
        table.add_column(result["database"], justify="right")
    for name, value in results[0].items():
        if isinstance(value, float):
            table.add_row(name, *(f"{result[name]:,.2f}" for result in results))
        elif name == "errors (deadlocks)":
            table.add_row(name, *(str(result[name]) for result in results))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--duty-cycle", type=float, default=Options().duty_cycle)
    parser.add_argument("--url", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [
        measure(url, options.rows, options.rounds, options.seconds, options.duty_cycle)
        for url in databases(options.url)
    ]
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


if __name__ == "__main__":
    main()
