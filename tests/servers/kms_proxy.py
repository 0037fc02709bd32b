"""A proxy in front of KMS that counts the calls, and fails as a network or KMS itself would."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from tests.servers.process import HOST

Failure = Literal[
    "refuse", "hang", "reset", "drip", "crawl", "cut", "throttle", "deny", "disabled", "error"
]

#: HTTP status and error type as KMS answers them.
_ANSWERS: dict[str, tuple[int, str, str]] = {
    "throttle": (400, "ThrottlingException", "Rate exceeded"),
    "deny": (400, "AccessDeniedException", "User is not authorized to perform this action"),
    "disabled": (400, "DisabledException", "The key is disabled"),
    "error": (500, "KMSInternalException", "Internal failure"),
}
_HEADERS_OF_100 = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 100\r\n\r\n"
)
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"}


@dataclass(frozen=True)
class Call:
    """One request as KMS gets it.

    :ivar action: ``"Decrypt"``, ``"GenerateDataKey"``, ...
    :ivar request: the request's JSON body.
    :ivar authorization: the signature header, which names the region.
    """

    action: str
    request: dict[str, Any]
    authorization: str

    @property
    def branch_key(self) -> str | None:
        """The branch key that it is about."""
        key_id: str | None = self.request.get("EncryptionContext", {}).get("enc:key-id")
        return key_id


class KmsProxy:
    """A running proxy; every request is passed on unaltered unless told to fail.

    :ivar url: endpoint URL to give to KMS clients.
    :ivar delay: seconds to wait before a request is passed on.
    :ivar most_at_once: how many requests were being delayed or passed on at the same time.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._connections: set[socket.socket] = set()
        self._calls: list[Call] = []
        self._failure: Failure | None = None
        self._actions: Collection[str] | None = None
        self._times: int | None = None
        self._branch_keys: Collection[str] | None = None
        self.delay = 0.0
        self.most_at_once = self._at_once = 0
        self._server: _Server | None = None
        self._port = 0
        self._listen()
        self.url = f"http://{HOST}:{self._port}"

    @property
    def calls(self) -> list[Call]:
        """Every call since the start or the last :meth:`reset`, failed ones included."""
        with self._lock:
            return list(self._calls)

    @property
    def counts(self) -> Counter[str]:
        """Number of calls by action."""
        return Counter(call.action for call in self.calls)

    def reset(self) -> None:
        """Forget the calls so far."""
        with self._lock:
            self._calls.clear()

    def fail(
        self,
        failure: Failure,
        *,
        actions: Collection[str] | None = None,
        times: int | None = None,
        branch_keys: Collection[str] | None = None,
    ) -> None:
        """Fail from now on.

        :param failure: ``"refuse"`` (nobody listens at the port), ``"hang"`` (never answers),
            ``"reset"`` (ends the connection unanswered), ``"drip"`` (begins an answer and sends
            a byte a second), ``"crawl"`` (the same from the status line on), ``"cut"``
            (begins an answer and ends the connection), ``"throttle"``, ``"deny"``,
            ``"disabled"``, ``"error"`` (HTTP 500).
        :param actions: fail only these actions; not with ``"refuse"``.
        :param times: fail only so many calls, then work again; not with ``"refuse"``.
        :param branch_keys: fail only calls for these, as a policy that names ``enc:key-id`` does.
        """
        self.heal()
        if failure == "refuse":
            if actions is not None or times is not None:
                raise ValueError("a refused connection has no action, and no call to count")
            self._close()
            return
        with self._lock:
            self._failure, self._actions, self._times = failure, actions, times
            self._branch_keys = branch_keys

    def heal(self) -> None:
        """Work again; calls that hang are let go, unanswered."""
        with self._lock:
            self._failure = self._actions = self._times = self._branch_keys = None
            released, self._released = self._released, threading.Event()
        released.set()
        if self._server is None:
            self._listen()

    def stop(self) -> None:
        """Close the port and every connection."""
        self._released.set()
        self._close()

    @contextmanager
    def passing_on(self) -> Iterator[None]:
        """Counts a request as one of those at the same time."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def _listen(self) -> None:
        self._server = _Server((HOST, self._port), _Handler, self)
        self._port = self._server.server_address[1]
        thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="kms-proxy", daemon=True
        )
        thread.start()

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        with self._lock:
            connections = list(self._connections)
        # A client keeps its connections: closing the port alone would leave it a way in.
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # The client was faster.

    def _record(self, call: Call) -> tuple[Failure | None, threading.Event]:
        """Count a call and say how to fail it, with the event that ends its hanging."""
        with self._lock:
            self._calls.append(call)
            if self._failure is None or (self._actions and call.action not in self._actions):
                return None, self._released
            if self._branch_keys is not None and call.branch_key not in self._branch_keys:
                return None, self._released
            failure = self._failure
            if self._times is not None:
                self._times -= 1
                if self._times <= 0:
                    self._failure = None
            return failure, self._released


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], proxy: KmsProxy
    ) -> None:
        self.proxy = proxy
        super().__init__(address, handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in two writes; waiting to join them costs 40 ms a call.
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.proxy = cast("_Server", self.server).proxy
        with self.proxy._lock:
            self.proxy._connections.add(self.connection)

    def finish(self) -> None:
        with self.proxy._lock:
            self.proxy._connections.discard(self.connection)
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        action = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        authorization = self.headers.get("Authorization", "")
        failure, released = self.proxy._record(Call(action, json.loads(body), authorization))
        if failure in ("hang", "reset"):
            if failure == "hang":
                released.wait(timeout=120)
            self.close_connection = True
        elif failure == "cut":
            self.close_connection = True
            self.wfile.write(_HEADERS_OF_100)
        elif failure in ("drip", "crawl"):
            self._drip(released, headers_too=failure == "crawl")
        elif failure is not None:
            status, kind, message = _ANSWERS[failure]
            answer = json.dumps({"__type": kind, "message": message}).encode()
            self._answer(status, {"Content-Type": "application/x-amz-json-1.1"}, answer)
        else:
            with self.proxy.passing_on():
                time.sleep(self.proxy.delay)
                self._forward(body)

    def _drip(self, released: threading.Event, *, headers_too: bool) -> None:
        self.close_connection = True
        if not headers_too:
            self.wfile.write(_HEADERS_OF_100)
        for byte in (_HEADERS_OF_100 if headers_too else b"") + 100 * b" ":
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return  # The client gave up waiting.
            if released.wait(timeout=1.0):
                return

    def _forward(self, body: bytes) -> None:
        upstream = self.proxy._upstream
        connection = http.client.HTTPConnection(
            upstream.hostname or HOST, upstream.port, timeout=60
        )
        try:
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in _HOP_BY_HOP
            }
            connection.request("POST", self.path, body, headers)
            response = connection.getresponse()
            answer = response.read()
            kept = {
                name: value
                for name, value in response.getheaders()
                if name.lower() not in _HOP_BY_HOP
            }
        finally:
            connection.close()
        self._answer(response.status, kept, answer)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # The client gave up waiting.

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: requests hold key material."""
