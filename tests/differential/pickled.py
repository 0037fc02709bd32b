"""Where ``pickle`` finds the classes of the twins that were made last."""

from __future__ import annotations

import sys
from typing import Any


def body_of(prefix: str, name: str) -> dict[str, Any]:
    """What has a class be found here."""
    return {"__module__": __name__, "__qualname__": f"{prefix}_{name}"}


def show(made: Any) -> Any:
    """Have a class found here."""
    setattr(sys.modules[__name__], made.__qualname__, made)
    return made
