"""Checks the application's engine: what it would print, and hazards of forks and threads."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import threading
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from encfields.doctor import Finding
from encfields.engine import engine_encryption, known_encryption
from encfields.keys.sql.store import SqlKeyStore, table_behind


def check_engine(engine: Engine) -> list[Finding]:
    """Check an engine as the application creates it, just after its module was imported."""
    return [
        _attachment_finding(engine),
        _echo_finding(engine),
        _parameters_finding(engine),
        *check_hazards(engine),
    ]


def _attachment_finding(engine: Engine) -> Finding:
    if known_encryption(engine.dialect) is None:
        detail = (
            "importing its module attaches no encryption; encrypted columns are refused until one "
            "is attached"
        )
        return Finding("attach()", "warning", detail)
    return Finding("attach()", "ok", "an encryption is attached")


def store_name_given(engine: Engine) -> str | None:
    """The logical name that an application gives its attached key store, if any."""
    encryption = known_encryption(engine.dialect)
    store = None if encryption is None else engine_encryption(encryption).key_store
    return table_behind(store).given_name if isinstance(store, SqlKeyStore) else None


def _echo_finding(engine: Engine) -> Finding:
    if engine.echo == "debug":
        detail = 'echo="debug" prints result rows after they were decrypted: never in production'
        return Finding("echo", "problem", detail)
    if engine.echo:
        detail = "echo=True prints statements and parameters; encrypted ones only as ciphertext"
        return Finding("echo", "warning", detail)
    return Finding("echo", "ok", "off")


def _parameters_finding(engine: Engine) -> Finding:
    if engine.hide_parameters:
        return Finding("hide_parameters", "ok", "on")
    detail = (
        "off: errors print the parameters of columns that are not encrypted; set "
        "hide_parameters=True where those matter too"
    )
    return Finding("hide_parameters", "warning", detail)


_PRELOADS = {
    "gunicorn.conf.py": re.compile(r"^\s*preload_app\s*=\s*True", re.MULTILINE),
    "uwsgi.ini": re.compile(r"\A(?!.*^\s*lazy-apps\s*=\s*(true|1)).*^\[uwsgi\]", re.S | re.M),
}
"""Files that may configure a server to import the application before it forks."""

_DISPOSE = (
    "Call engine.dispose(close=False) in each child (gunicorn: post_fork; uWSGI: @postfork; "
    "multiprocessing: the pool's initializer), or connect only there"
)


def check_hazards(engine: Engine, platform: str = sys.platform) -> list[Finding]:
    """Hazards of forks and threads, just after the application's module was imported.

    :param platform: as ``sys.platform``.
    """
    return [
        _pool_finding(engine),
        _fork_finding(engine),
        _preload_finding(engine, Path.cwd()),
        _multiprocessing_finding(platform),
        _threads_finding(),
    ]


def _pool_finding(engine: Engine) -> Finding:
    pool = engine.pool
    name = type(pool).__name__
    shared = "keys are read inside the application's transaction and not renewed in the background"
    if isinstance(pool, StaticPool):
        detail = (
            f"{name} has one connection for all threads, whose transactions mix; {shared}. For "
            "tests in one thread: elsewhere leave poolclass out"
        )
        return Finding("pool", "warning", detail)
    if isinstance(pool, SingletonThreadPool):
        detail = (
            f"{name} keeps a connection for each thread and, with more threads than its size of "
            f"{pool.size}, closes one that may be in use; {shared}. Leave poolclass out, and keep "
            "SQLite in a file"
        )
        return Finding("pool", "warning", detail)
    return Finding("pool", "ok", f"{name}; keys are read on connections of their own")


def _open_connections(engine: Engine) -> int:
    counts = (getattr(engine.pool, name, None) for name in ("checkedin", "checkedout"))
    return sum(max(0, count()) for count in counts if count is not None)


def _fork_finding(engine: Engine) -> Finding:
    opened = _open_connections(engine)
    if opened:
        detail = (
            f"importing the application leaves {opened} database connection(s) open; a server "
            f"that forks afterwards shares them between processes. {_DISPOSE}. Keys and KMS "
            "clients are safe: each process makes its own"
        )
        return Finding("fork", "problem", detail)
    threads = [
        thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
    ]
    others = [name for name in threads if not name.startswith("encfields-")]
    if others:
        names = ", ".join(others[:3])
        detail = (
            f"importing the application starts threads ({names}), which a fork loses, with "
            "whatever lock they hold. Start them in each child"
        )
        return Finding("fork", "warning", detail)
    if "encfields-renewal" in threads:
        detail = (
            "keys are fetched when the application is imported: a forked child fetches its own. "
            "Python 3.12 and newer warn about any thread at a fork; attach(cache_renewal=0), or "
            "attaching in each child, avoids that"
        )
        return Finding("fork", "ok" if sys.version_info < (3, 12) else "warning", detail)
    return Finding("fork", "ok", "importing the application opens no connection and no thread")


def _preload_finding(engine: Engine, directory: Path) -> Finding:
    """Whether a server here imports the application before it forks."""
    found = [
        name
        for name, pattern in _PRELOADS.items()
        if (file := directory / name).is_file() and pattern.search(_text(file))
    ]
    if "--preload" in os.environ.get("GUNICORN_CMD_ARGS", "").split():
        found.append("GUNICORN_CMD_ARGS")
    if not found:
        return Finding(
            "preload", "ok", "no server was found that imports the application and then forks"
        )
    detail = f"{' and '.join(found)}: the application is imported once and forked"
    if _open_connections(engine):
        detail += f", with database connections open. {_DISPOSE}"
        return Finding("preload", "problem", detail)
    return Finding("preload", "ok", f"{detail}; no database connection is open by then")


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _multiprocessing_finding(platform: str) -> Finding:
    method = multiprocessing.get_start_method(allow_none=True)
    method = method or multiprocessing.get_all_start_methods()[0]
    if method != "fork":
        return Finding("multiprocessing", "ok", f"starts processes by {method}")
    if platform == "darwin":
        detail = (
            "forks, which macOS does not support: its own libraries abort a child, and looking up "
            'proxies, as boto3 does, is among what calls them. set_start_method("spawn")'
        )
        return Finding("multiprocessing", "problem", detail)
    detail = "forks: keys and KMS clients are made again in a child, database connections are not"
    return Finding("multiprocessing", "ok", detail)


def _threads_finding() -> Finding:
    monkey = sys.modules.get("gevent.monkey") or sys.modules.get("eventlet.patcher")
    if monkey is None:
        return Finding(
            "threads", "ok", "threads are ordinary ones: neither gevent nor eventlet is loaded"
        )
    detail = (
        "gevent or eventlet is loaded: it must patch before encfields and boto3 are imported, and "
        "opening a key blocks all its greenlets for the time of one KMS call"
    )
    return Finding("threads", "warning", detail)
