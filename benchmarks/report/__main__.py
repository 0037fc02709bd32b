"""Run the benchmarks side by side and write docs/benchmarks.md with its charts.

    python -m benchmarks.report [--quick] [--only NAME]... [--write]

What each measures is kept in `build/benchmarks`, one file each, so that one may be run again alone
and the page written anew of all. `make bench` runs this with the tests' database servers at hand.
"""

from __future__ import annotations

import argparse

from benchmarks.report.measure import RUNS, machine, measure, measured
from benchmarks.report.page import write


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows: some minutes in all")
    names = sorted({run.name for run in RUNS})
    parser.add_argument("--only", action="append", choices=names, help="of several, each named")
    parser.add_argument("--write", action="store_true", help="only write what was measured before")
    options = parser.parse_args()
    if not options.write:
        for run in RUNS:
            if options.only is None or run.name in options.only:
                measure(run, quick=options.quick)
        measure(machine(), quick=options.quick)
    for path in write(measured()):
        print(path)


if __name__ == "__main__":
    main()
