"""Runs the benchmarks, each in a process of its own, and keeps what they tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encfields.native_core import status

ROOT = Path(__file__).resolve().parent.parent.parent
KEPT = ROOT / "build" / "benchmarks"


@dataclass(frozen=True)
class Run:
    """One benchmark on one core.

    :ivar name: its module. :ivar core: ``python`` or ``native``; ``both`` where the benchmark
        itself measures both.
    :ivar quick: arguments that make it short. :ivar whole: those that it has otherwise.
    """

    name: str
    core: str = "both"
    quick: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    @property
    def kept(self) -> Path:
        """Where its results are."""
        return KEPT / f"{self.name}-{self.core}.json"


_CORES = ("python", "native")
_OF_NATIVE = ("native", "page")
_CHOICES = {"python": "off", "native": "require"}

RUNS = [
    *(Run("value", core, ("--rounds", "40")) for core in _CORES),
    Run("native", quick=("--rows", "2000", "--rounds", "5")),
    *(Run("orm", core, ("--rows", "2000", "--rounds", "5")) for core in _CORES),
    *(Run("lazy", core, ("--rows", "2000", "--rounds", "5")) for core in _CORES),
    Run("page", quick=("--seconds", "0.3", "--rounds", "5")),
    *(
        Run("index", core, ("--rows", "100000", "--written", "2000", "--rounds", "5"))
        for core in _CORES
    ),
    *(
        Run("reencrypt", core, ("--rows", "50000", "--rounds", "1"), ("--rounds", "1"))
        for core in _CORES
    ),
]


def machine() -> Run:
    """What it all ran on."""
    return Run("report.machine")


def measure(run: Run, *, quick: bool) -> None:
    """Run a benchmark and keep what it tells.

    One of the compiled core is left out where there is none.
    """
    if (run.name in _OF_NATIVE or run.core == "native") and not status().is_native:
        print(f"{run.name}: left out, {status()}")
        return
    arguments = run.quick if quick else run.whole
    environment = dict(os.environ)
    if run.core in _CHOICES:
        environment["ENCFIELDS_NATIVE"] = _CHOICES[run.core]
    print(f"{run.name}, {run.core}", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{run.name}", "--json", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = {"quick": quick, "results": json.loads(done.stdout)}
    run.kept.write_text(json.dumps(kept, indent=1))
    print(f"  {time.monotonic() - began:.0f} seconds", flush=True)


def measured() -> dict[str, Any]:
    """All that is kept, by the benchmark's name and core, such as ``value-native``."""
    return {path.stem: _kept(path)["results"] for path in sorted(KEPT.glob("*.json"))}


def were_quick() -> bool:
    """Whether any of it was measured in short."""
    return any(_kept(path)["quick"] for path in KEPT.glob("*.json"))


def _kept(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found
