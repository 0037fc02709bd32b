"""The former name of the module of message headers, kept until 1.0 for those that import it."""

from __future__ import annotations

from encfields.message.header import Header, read_header

__all__ = ["Header", "read_header"]
