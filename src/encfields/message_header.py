"""The former name of the module of message headers, kept until 1.0 for those that import it."""

from __future__ import annotations

import sys

from encfields.message import header

sys.modules[__name__] = header
