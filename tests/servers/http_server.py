"""A server that answers over HTTP, a process of its own on a port that was free."""

from __future__ import annotations

import http.client
from abc import ABC, abstractmethod
from pathlib import Path

from tests.servers.process import HOST, ServerError, ServerProcess, free_port


class HttpServer(ABC):
    """A running server.

    :ivar url: its address.
    """

    name: str
    health: str
    """A path that is answered with 200 once the server is there."""

    def __init__(self) -> None:
        try:
            self._start()
        except ServerError:
            # Another process may have taken the port between the look and the start.
            self._start()

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """What starts it on ``self._port``."""

    def _environment(self) -> dict[str, str] | None:
        """Its environment; ``None`` for that of this process."""
        return None

    def _start(self) -> None:
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}"
        self._process = ServerProcess(self.name)
        self._process.start(self._command(), self._answers, environment=self._environment())

    def stop(self) -> None:
        self._process.stop()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=60)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
