"""``python -m encfields.cli``, where the console script is not on the path."""

from __future__ import annotations

import sys

from encfields.cli.main import main

sys.exit(main())
