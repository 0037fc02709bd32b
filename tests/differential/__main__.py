"""Random programs on twins, one plaintext and one encrypted: what an application sees agrees.

    python -m tests.differential --programs 1000 [--seed 1] [--database URL]

A program that fails is printed as a script that is as short as it could be made.
"""

from __future__ import annotations

import argparse
import gc
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import URL, make_url

from tests.differential.databases import Database
from tests.differential.shrink import script, shrink
from tests.differential.trial import attempt, draw_program
from tests.servers import mariadb, postgresql
from tests.servers.provision import existing, missing

PROGRESS = 100


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None, help="of the first program")
    parser.add_argument("--database", help="URL of an empty one; default: one on each server")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after these")
    parser.add_argument("--details", action="store_true", help="print tracebacks")
    arguments = parser.parse_args()
    first = time.time_ns() // 10**9 if arguments.seed is None else arguments.seed
    found = False
    for url in [arguments.database] if arguments.database else _databases():
        database = Database(url)
        try:
            found |= bool(_look(database, first, arguments))
        finally:
            database.close()
    return 1 if found else 0


def _databases() -> Iterator[URL]:
    """SQLite, and a database on each server that is there, dropped afterwards."""
    yield make_url("sqlite://")
    servers: tuple[tuple[Any, str], ...]
    servers = ((postgresql, "postgresql+psycopg"), (mariadb, "mysql+pymysql"))
    for server, driver in servers:
        if (url := existing(server)) is None:
            raise missing(server)
        made = server.ServerDatabase(url, f"encfields_fuzz_{secrets.token_hex(6)}")
        try:
            yield made.url.set(drivername=driver)
        finally:
            made.drop()


def _look(
    database: Database, first: int, arguments: argparse.Namespace
) -> Counter[tuple[str, ...]]:
    """Every program of the range; of each kind of finding one is shortened and printed."""
    found: Counter[tuple[str, ...]] = Counter()
    start, done, used = time.monotonic(), 0, time.process_time()
    gc.freeze()  # what was imported stays
    for seed in range(first, first + arguments.programs):
        if time.monotonic() - start > arguments.seconds:
            break
        program = draw_program(seed)
        try:
            finding = attempt(program, database)
        except Exception:
            print(f"# seed {seed} ends with an error", file=sys.stderr, flush=True)
            raise
        done += 1
        if done % PROGRESS == 0:
            print(f"{done} programs, {sum(found.values())} findings", file=sys.stderr, flush=True)
        if finding is None:
            continue
        found[finding.kind] += 1
        if found[finding.kind] == 1:
            shown = shrink(program, finding, database)
            print(f"# seed {seed}\n{script(*shown, database)}", flush=True)
            if arguments.details:
                print(shown[1].details, flush=True)
    name = database.engines.plain.dialect.name
    told = f"{done} programs from seed {first} on: {sum(found.values())} findings"
    pace = done / (time.process_time() - used)
    print(f"{name}: {told}; {pace:.1f} in a second of the processor", file=sys.stderr)
    for kind, count in found.most_common():
        print(f"{count:5} {' / '.join(kind)}", file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(main())
