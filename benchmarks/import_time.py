"""What importing encfields costs over what any user of SQLAlchemy and cryptography pays.

Each import runs in a new process; the best of several counts, as noise only ever adds.

usage: python -m benchmarks.import_time [runs]
"""

from __future__ import annotations

import subprocess
import sys

LIMIT_MS = 60.0
"""To reach: at most so much more than the base."""

BASE = "import sqlalchemy, cryptography.hazmat.primitives.ciphers.aead"
IMPORTS = {
    "SQLAlchemy and cryptography": BASE,
    "+ encfields": f"{BASE}; from encfields import *",
    "+ aws_encryption_sdk and its material providers (for comparison)": (
        f"{BASE}; import aws_encryption_sdk, aws_cryptographic_material_providers.mpl"
    ),
}


def best_ms(statement: str, runs: int) -> float:
    """Milliseconds that `statement` takes in a new process, the interpreter's start left out."""
    script = (
        "import time; start = time.perf_counter()\n"
        f"{statement}\n"
        "print((time.perf_counter() - start) * 1000)"
    )
    command = [sys.executable, "-c", script]
    return min(float(subprocess.check_output(command, text=True)) for _ in range(runs))


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    times = {name: best_ms(statement, runs) for name, statement in IMPORTS.items()}
    base, ours, _ = times.values()
    for name, milliseconds in times.items():
        print(f"{milliseconds:8.1f} ms  {name}")
    verdict = "within" if ours - base <= LIMIT_MS else "OVER"
    print(f"encfields adds {ours - base:.1f} ms, {verdict} the limit of {LIMIT_MS:.0f} ms")


if __name__ == "__main__":
    main()
