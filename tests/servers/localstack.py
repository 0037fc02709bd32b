"""AWS KMS a second time: LocalStack's, in an environment of its own.

``make test-localstack`` makes the environment and sets :data:`VARIABLE`.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.http_server import HttpServer
from tests.servers.process import HOST

VARIABLE = "ENCFIELDS_TEST_LOCALSTACK"
"""The environment variable that names the Python which has LocalStack; else KMS is moto's."""


def python() -> Path | None:
    """The Python that has LocalStack, if the tests are to run on its KMS."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else None


class LocalStackServer(HttpServer):
    """A running LocalStack that has KMS and nothing else.

    :param python: the interpreter in whose environment it is installed.
    :ivar url: endpoint URL of its KMS.
    """

    name = "localstack"
    health = "/_localstack/health"

    def __init__(self, python: Path) -> None:
        self._python = python
        super().__init__()

    def _command(self) -> list[str | Path]:
        return [self._python, "-m", "localstack.runtime.main"]

    def _environment(self) -> dict[str, str]:
        folder = str(self._process.directory)
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": folder,
            # It empties its folders when it starts: several of them must not share one.
            "TMPDIR": folder,
            "FILESYSTEM_ROOT": folder,
            "GATEWAY_LISTEN": f"{HOST}:{self._port}",
            "SERVICES": "kms",
            "EAGER_SERVICE_LOADING": "1",
            # Nothing of it reaches for the network.
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DNS_ADDRESS": "0",
        }
