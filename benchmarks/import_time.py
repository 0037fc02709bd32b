"""What importing encfields costs over what any application on SQLAlchemy's ORM pays.

CPU time, for a busy machine makes any clock on the wall useless. Each import runs in a new process,
the contestants in turn; the best of several rounds counts, as noise only ever adds. Bytecode is
read as an installed package's is, also where the environment forbids to write it.

Python collects all garbage after so many new objects. After SQLAlchemy's import that is nearly due,
so whatever is imported next has to look through SQLAlchemy's objects; how long that takes is said.

usage: python -m benchmarks.import_time [rounds]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

LIMIT_MS = 60.0
"""To reach: at most so much more than the base."""

BASE = "import sqlalchemy.orm, cryptography.hazmat.primitives.ciphers.aead"
NAMES = "from encfields import BlindIndex, EncryptedType, SqlKeyStore, attach, keyrings"
"""What an application names; ``import encfields`` alone imports nothing else."""

STORE = "SqlKeyStore(keyrings.local(bytes(32)))"
ATTACH = f"import sqlalchemy; attach(sqlalchemy.create_engine('sqlite://'), {STORE})"
"""What statements go through is imported by the first of these, and SQLAlchemy's dialect by it."""

IMPORTS = {
    "SQLAlchemy's ORM and cryptography": BASE,
    "+ import encfields, and the names of a program": f"{BASE}; {NAMES}",
    "+ attach() to an engine of SQLite, with the import of its dialect": (
        f"{BASE}; {NAMES}; {ATTACH}"
    ),
    "+ aws_encryption_sdk and its material providers (for comparison)": (
        f"{BASE}; import aws_encryption_sdk, aws_cryptographic_material_providers.mpl"
    ),
}


SCRIPT = """
import gc, time
collected = began = 0.0
def note(phase, info):
    global collected, began
    if phase == "start":
        began = time.process_time()
    elif info["generation"] == 2:
        collected += time.process_time() - began
gc.callbacks.append(note)
start = time.process_time()
{statement}
print((time.process_time() - start) * 1000, collected * 1000)
"""


def cpu_ms(statement: str, bytecode: str) -> tuple[float, float]:
    """CPU milliseconds that `statement` takes in a new process, the interpreter's start left out,
    and how many of them are full collections.

    :param bytecode: a directory that keeps compiled modules from one call to the next.
    """
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode}
    command = [sys.executable, "-c", SCRIPT.format(statement=statement)]
    taken, collected = subprocess.check_output(command, text=True, env=environment).split()
    return float(taken), float(collected)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    statements = IMPORTS.values()
    with tempfile.TemporaryDirectory() as bytecode:
        for statement in statements:
            cpu_ms(statement, bytecode)  # compiles what it imports
        taken = [[cpu_ms(one, bytecode) for one in statements] for _ in range(rounds)]
    best = dict(zip(IMPORTS, map(min, zip(*taken, strict=True)), strict=True))
    for name, (milliseconds, collected) in best.items():
        print(f"{milliseconds:8.1f} ms  {name}, {collected:.1f} ms of it full collections")
    (base, _), (ours, _), *_ = best.values()
    verdict = "within" if ours - base <= LIMIT_MS else "OVER"
    print(f"encfields adds {ours - base:.1f} ms, {verdict} the limit of {LIMIT_MS:.0f} ms")


if __name__ == "__main__":
    main()
