"""Whether a forked child opens keys, found by forking one."""

from __future__ import annotations

import os
import select
import signal
import warnings

from encfields.doctor.finding import Finding
from encfields.errors import EncFieldsError
from encfields.keys.store import KeyStore

SECONDS = 30
"""After which a child is taken to hang."""


def check_fork(store: KeyStore, key_id: str) -> Finding:
    """Open a key, fork, and open it again in the child.

    :param store: bound to its database; it has opened the key before.
    """
    if not hasattr(os, "fork"):
        return Finding("forked child", "skipped", "this system does not fork")
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and newer warn of other threads, which the child does not touch.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(store, key_id, writing)
    os.close(writing)
    try:
        reply = _answer(reading)
    finally:
        os.close(reading)
        if _is_running(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if reply == "ok":
        reply = "a child that is forked after keys were used opens them, with clients of its own"
        return Finding("forked child", "ok", reply)
    reply = reply or "it ended, or hung, without an answer"
    return Finding("forked child", "problem", f"a forked child does not open keys: {reply}")


def _child(store: KeyStore, key_id: str, pipe: int) -> None:
    reply = "it failed"
    try:
        store.active(key_id)
        reply = "ok"
    except EncFieldsError as error:
        reply = str(error)
    finally:
        os.write(pipe, reply.encode()[:4000])
        os._exit(0)


def _answer(pipe: int) -> str:
    ready, _, _ = select.select([pipe], [], [], SECONDS)
    return os.read(pipe, 4000).decode() if ready else ""


def _is_running(pid: int) -> bool:
    """Whether it has to be ended; one that ended is reaped."""
    for _ in range(100):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        select.select([], [], [], 0.01)
    return True
