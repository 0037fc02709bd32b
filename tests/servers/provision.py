"""Find or make the database servers that the tests need.

For each of PostgreSQL and MariaDB the first of these ways that works is taken:

``url``
    the server that an environment variable names;
``private``
    the binaries that are installed here, started with a directory in memory, which no commit
    waits for and nobody else uses;
``running``
    one that runs already on this machine and lets us in;
``install``
    Debian's packages, installed with apt-get where this user may, then as ``private``.

MySQL is got in the first two ways only, and the tests do without it where there is none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

from sqlalchemy import URL, make_url

from scripts.make_venv import apt_install
from tests.servers import mariadb, mysql, postgresql
from tests.servers.memory import folder_in_memory
from tests.servers.process import ServerError

WAYS = ("url", "private", "running", "install")
KINDS: tuple[ModuleType, ...] = (postgresql, mariadb)


@contextmanager
def servers(ways: Collection[str] = WAYS) -> Iterator[dict[str, str]]:
    """Have the servers for the length of a ``with`` block.

    :param ways: which of :data:`WAYS` may be used.
    :returns: environment variable to server URL, for the tests' processes.
    :raises ServerError: when one cannot be had; says what to install or to set.
    """
    with ExitStack() as stack:
        urls = {kind.VARIABLE: _server(kind, ways, stack) for kind in KINDS}
        if found := _mysql(ways):
            urls[mysql.VARIABLE] = found
        yield {name: url.render_as_string(hide_password=False) for name, url in urls.items()}


def existing(kind: ModuleType, ways: Collection[str] = WAYS) -> URL | None:
    """A server of this kind that is there without our doing anything.

    :raises ServerError: when the one that the environment variable names is not usable: to go
        on with another one would test something else than was asked for.
    """
    return _named(kind, ways) or _running(kind, ways)


def missing(kind: ModuleType) -> ServerError:
    """The error that says how to get a server of this kind."""
    return ServerError(
        f"The tests need {kind.NAME}, and none was found. Do one of these:\n"
        f"  - {kind.HOW_TO_GET}\n"
        f"  - name a server in which the tests may make and drop databases:\n"
        f"    {kind.VARIABLE}={kind.EXAMPLE_URL}\n"
        "Nothing is skipped for want of a server."
    )


def _mysql(ways: Collection[str]) -> URL | None:
    url = existing(mysql, ways)
    how = f"{url!r} (already there)" if url else f"none; its tests want {mysql.VARIABLE}"
    print(f"{mysql.NAME}: {how}", flush=True)
    return url


def _server(kind: ModuleType, ways: Collection[str], stack: ExitStack) -> URL:
    url = _named(kind, ways)
    binaries = None if url else _installed(kind, ways)
    if not url and not binaries:
        url = _running(kind, ways)
    how = "already there"
    if url is None:
        binaries = binaries or _newly_installed(kind, ways)
        server = kind.PrivateServer(binaries, parent=folder_in_memory())
        stack.callback(server.stop)
        url = server.url
        how = f"private, from {binaries}"
    print(f"{kind.NAME}: {url!r} ({how})", flush=True)
    return url


def _named(kind: ModuleType, ways: Collection[str]) -> URL | None:
    named = os.environ.get(kind.VARIABLE)
    if "url" not in ways or not named:
        return None
    url = make_url(named)
    kind.check(url)
    return url


def _running(kind: ModuleType, ways: Collection[str]) -> URL | None:
    running: Callable[[], URL | None] = kind.running
    return running() if "running" in ways else None


def _installed(kind: ModuleType, ways: Collection[str]) -> Path | None:
    installed: Callable[[], Path | None] = kind.installed
    return installed() if "private" in ways else None


def _newly_installed(kind: ModuleType, ways: Collection[str]) -> Path:
    installed: Callable[[], Path | None] = kind.installed
    found = installed() if "install" in ways and apt_install(kind.PACKAGE) else None
    if found is None:
        raise missing(kind)
    return found
