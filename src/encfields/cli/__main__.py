"""``python -m encfields.cli``, where the console script is not on the path."""

from __future__ import annotations

import sys

from encfields.cli.terminal import run

if __name__ == "__main__":  # worker processes import this file again
    sys.exit(run())
