"""Run the conformance drivers that this machine's tools allow.

usage: python -m conformance [--lenient] [--golden] [LANGUAGE...]

Exits with 1 if a driver was built and something is wrong, or could not be built; a language whose
tools are missing is said not to have run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from sqlalchemy import Engine, create_engine

from conformance.fixture import Place, fill
from conformance.golden import write
from conformance.jobs import Verdict, job, judge, openings
from conformance.languages import BUILD_SECONDS, LANGUAGES, Language
from encfields import DynamoDbKeyStore, Encryption, attach, keyrings
from tests.servers.moto import ENVIRONMENT, REGION, Kms, MotoServer

TABLE = "conformance-keys"
LENIENT_SECONDS = 120
"""How long a build may take that is only to be tried."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE", help=", ".join(LANGUAGES))
    parser.add_argument(
        "--lenient", action="store_true", help="a driver that cannot be built is only reported"
    )
    parser.add_argument(
        "--golden", action="store_true", help="write what was sealed to tests/golden/others"
    )
    given = parser.parse_args()
    if unknown := set(given.languages) - set(LANGUAGES):
        parser.error(f"unknown language {', '.join(sorted(unknown))}")
    failed = False
    for name in given.languages or LANGUAGES:
        failed |= not _run(LANGUAGES[name], lenient=given.lenient, golden=given.golden)
    return 1 if failed else 0


def _run(language: Language, *, lenient: bool, golden: bool) -> bool:
    if missing := language.missing():
        print(f"{language.name}: not run, this machine has no {', '.join(missing)}")
        return True
    print(f"{language.name}: getting the SDK and building the driver", flush=True)
    if (why := language.prepare(LENIENT_SECONDS if lenient else BUILD_SECONDS)) is not None:
        print(f"{language.name}: not run, it could not be built:\n{why}")
        return lenient
    verdict = examine(language, golden=golden)
    print(
        f"{language.name}: {verdict.sdk}: {verdict.opened} opened, {verdict.refused} refused, "
        f"{verdict.sealed} sealed, {verdict.refused_here} of what it sealed refused elsewhere or "
        f"altered, {len(verdict.faults)} faults"
    )
    for fault in verdict.faults:
        print(f"  {fault}")
    return not verdict.faults


def examine(language: Language, *, golden: bool = False) -> Verdict:
    """Have a driver open and seal the values of a database of its own, over a key store in moto."""
    os.environ.update(ENVIRONMENT)
    server = MotoServer()
    os.environ["AWS_ENDPOINT_URL"] = server.url
    try:
        with tempfile.TemporaryDirectory() as folder:
            engine = create_engine(f"sqlite:///{Path(folder, 'fixture.db')}")
            arn = Kms(server.url).create_key()
            store = DynamoDbKeyStore(keyrings.aws_kms(arn), TABLE)
            store.create_table()
            encryption = attach(engine, store)
            places = fill(engine, encryption)
            connection = {
                "endpoint": server.url,
                "region": REGION,
                "table": TABLE,
                "kms_key": arn,
            }
            return _exchange(language, engine, encryption, places, connection, golden=golden)
    finally:
        server.stop()


def _exchange(
    language: Language,
    engine: Engine,
    encryption: Encryption,
    places: list[Place],
    connection: dict[str, str],
    *,
    golden: bool,
) -> Verdict:
    if not language.has_empty_values:
        places = [place for place in places if all(place.context.values())]
    opened = list(openings(engine, places))
    told = json.dumps(job(connection, opened, places))
    answer = language.answer(told, {**os.environ, **ENVIRONMENT, "AWS_ENDPOINT_URL": ""})
    verdict = judge(answer, engine, opened, places)
    if golden and not verdict.faults:
        write(language.name, verdict.sdk, places, engine, encryption)
    return verdict


if __name__ == "__main__":
    sys.exit(main())
