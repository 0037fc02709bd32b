"""A proxy before a database that cuts the connection right after a COMMIT has been passed on."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

from tests.servers.process import HOST


class CutProxy:
    """Passes bytes on in both directions until it is told to cut.

    :param host: the server's. :param port: the server's.
    :ivar port: where clients connect. :ivar cuts: how many connections it has cut.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self._cut_after = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after_commits(self, commits: int) -> None:
        """Cut the connection that sends the COMMIT after so many others, once."""
        with self._lock:
            self._cut_after = commits + 1

    def stop(self) -> None:
        # Closed alone, it would still serve the accept() that waits on it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target, watches in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pass, args=(source, target, watches), daemon=True
                ).start()

    def _pass(self, source: socket.socket, target: socket.socket, watches: bool) -> None:
        try:
            while data := source.recv(65536):
                cut = watches and b"COMMIT" in data and self._is_due()
                if cut:
                    # Before the server can answer, and never to be heard.
                    source.shutdown(socket.SHUT_RDWR)
                target.sendall(data)
                if cut:
                    time.sleep(0.2)  # The server commits; a lost client would not stop it.
                    break
        except OSError:
            pass
        for side in (source, target):
            # Closed alone, it would stay open for the thread that waits to receive from it.
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _is_due(self) -> bool:
        with self._lock:
            if not self._cut_after:
                return False
            self._cut_after -= 1
            if self._cut_after:
                return False
            self.cuts += 1
            return True
