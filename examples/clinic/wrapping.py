"""What wraps the branch keys, a key in a file or KMS, and a switch that takes it out of reach."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Protocol

from encfields import SqlKeyStore, keyrings
from encfields.errors import KeyUnavailableError

from .settings import Settings

REGION = "eu-west-1"
NAME = "clinic"
"""The key store's logical name: keys of another one do not open here."""


class Wrapping(Protocol):
    """Makes key stores, and can be taken away.

    :ivar what: how the page calls it.
    :ivar away: whether it is out of reach now.
    """

    what: str
    away: bool

    def key_store(self) -> SqlKeyStore: ...

    def close(self) -> None: ...


class FileWrapping:
    """A wrapping key in a file. Away, it is as if nobody could read the file."""

    what = "key file"

    def __init__(self, settings: Settings) -> None:
        self.away = False
        self._path = settings.folder / "local.key"
        keyrings.generate_local_key(self._path)

    def key_store(self) -> SqlKeyStore:
        return _FileKeyStore(self, keyrings.local(self._path), name=NAME)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)


class _FileKeyStore(SqlKeyStore):
    """Asks whether the file is there before a key is unwrapped or made."""

    def __init__(self, wrapping: FileWrapping, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._wrapping = wrapping

    def _require(self, key_id: str) -> None:
        if self._wrapping.away:
            raise KeyUnavailableError(
                "the file of the wrapping key is out of reach", key_id=key_id, reason="unreachable"
            )

    def active(self, key_id: str) -> Any:
        self._require(key_id)
        return super().active(key_id)

    def version(self, key_id: str, version: str) -> Any:
        self._require(key_id)
        return super().version(key_id, version)

    def beacons(self, key_id: str) -> Any:
        self._require(key_id)
        return super().beacons(key_id)

    def wrapped_many(self, key_ids: Collection[str] | None) -> Any:
        self._require("default")
        return super().wrapped_many(key_ids)

    def create(self, key_id: str) -> Any:
        self._require(key_id)
        return super().create(key_id)

    def rotate(self, key_id: str) -> Any:
        self._require(key_id)
        return super().rotate(key_id)


class KmsWrapping:
    """A key in an emulator of AWS KMS, behind a relay that can be cut."""

    what = "AWS KMS (emulated)"

    def __init__(self) -> None:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "clinic",
            "AWS_SECRET_ACCESS_KEY": "clinic",
            "AWS_DEFAULT_REGION": REGION,
        }
        self._port = _free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        self._server = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for(self._port)
        self._relay = Relay(self._port)
        self._arn = self._create_key()

    def _create_key(self) -> str:
        import boto3

        url = f"http://127.0.0.1:{self._port}"
        client = boto3.client("kms", region_name=REGION, endpoint_url=url)
        return str(client.create_key()["KeyMetadata"]["Arn"])

    @property
    def away(self) -> bool:
        return self._relay.cut

    @away.setter
    def away(self, away: bool) -> None:
        self._relay.cut = away

    def key_store(self) -> SqlKeyStore:
        keyring = keyrings.aws_kms(self._arn, endpoint_url=self._relay.url, timeout=2)
        return SqlKeyStore(keyring, name=NAME)

    def close(self) -> None:
        self._relay.close()
        self._server.terminate()
        self._server.wait(10)


class Relay:
    """Hands connections on to a port of this machine; cut, it drops them.

    :ivar cut: whether nothing gets through now.
    """

    def __init__(self, port: int) -> None:
        self.cut = False
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.cut:
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._to))
        threading.Thread(target=self._copy, args=(server, client), daemon=True).start()
        self._copy(client, server)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not self.cut:
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(port: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise SystemExit("the KMS emulator does not start")
