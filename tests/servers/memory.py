"""Where databases live that nobody wants to keep: in memory, where the system has room there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 2 << 30


def folder_in_memory() -> Path | None:
    """The parent for a directory that a disk need not hold.

    Nothing there is ever written to a disk, so that a commit waits for none.

    :returns: ``None`` where there is no such place, or too little of it, as in a container whose
        shared memory was not asked for: then the system's place for temporary files has to do.
    """
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        return None
    fits = free >= _ENOUGH_BYTES and os.access(_SHARED_MEMORY, os.W_OK | os.X_OK)
    return _SHARED_MEMORY if fits else None
