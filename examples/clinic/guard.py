"""What is refused before any page sees it: forms of other sites, and forms that are huge."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request

from .explain import Trouble

MAX_FORM_BYTES = 16_384
"""The longest form of these pages has some hundred."""


def refusal(request: Request) -> Trouble | None:
    """Why a request is not taken; ``None`` if it is."""
    if request.method != "POST":
        return None
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return Trouble(
            "That form came from another site",
            f"It was sent by {origin[:80]}.",
            "Open the clinic itself, and use its own forms.",
            403,
        )
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length[:20]) > MAX_FORM_BYTES:
        return Trouble(
            "That is too much",
            "No form of the clinic is as long as what was sent.",
            "Go back, and fill it in again.",
            413,
        )
    return None
