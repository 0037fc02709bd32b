"""A model for admin pages, its plain twin, and a browser's view of a form."""

from __future__ import annotations

import enum
import html
import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Enum,
    Integer,
    Numeric,
    String,
    Text,
    inspect,
)
from sqlalchemy.orm import DeclarativeBase, mapped_column

from encfields import BlindIndex, EncryptedType


class Base(DeclarativeBase):
    pass


class Kind(enum.Enum):
    FIRST = "FIRST"
    LATER = "LATER"


def _columns(wrap: Any) -> dict[str, Any]:
    return {
        "id": mapped_column(Integer, primary_key=True),
        "ward": mapped_column(String(20), nullable=True),
        "name": mapped_column(wrap(String(50), index=True), nullable=False),
        "notes": mapped_column(wrap(JSON()), nullable=True),
        "seen": mapped_column(wrap(Date()), nullable=True),
        "at": mapped_column(wrap(DateTime()), nullable=True),
        "fee": mapped_column(wrap(Numeric(10, 2)), nullable=True),
        "count": mapped_column(wrap(Integer()), nullable=True),
        "total": mapped_column(wrap(BigInteger()), nullable=True),
        # Admin pages know by isinstance() that a Boolean need not be ticked, or by its default.
        "insured": mapped_column(wrap(Boolean()), nullable=False, default=False),
        "kind": mapped_column(wrap(Enum(Kind)), nullable=True),
        "text": mapped_column(wrap(Text()), nullable=True),
    }


def _encrypted(inner: Any, index: bool = False) -> EncryptedType:
    return EncryptedType(inner, index=BlindIndex() if index else None)


class Visit(Base):
    __tablename__ = "visit"
    locals().update(_columns(_encrypted))


class PlainVisit(Base):
    __tablename__ = "plain_visit"
    locals().update(_columns(lambda inner, index=False: inner))


ADA: dict[str, Any] = {
    "ward": "north",
    "name": "Ada",
    "notes": {"blood": "A+"},
    "seen": date(2026, 11, 28),
    "at": datetime(2026, 11, 28, 10, 30),
    "fee": Decimal("12.50"),
    "count": 3,
    "total": 2**40,
    "insured": True,
    "kind": Kind.LATER,
    "text": "long",
}

ADA_FORM = {
    "ward": "north",
    "name": "Ada",
    "notes": '{"blood": "A+"}',
    "seen": "2026-11-28",
    "at": "2026-11-28 10:30:00",
    "fee": "12.50",
    "count": "3",
    "total": "1099511627776",
    "insured": "on",
    "kind": "LATER",
    "text": "long",
}


def values_of(row: Any) -> dict[str, Any]:
    """The values of a row's mapped columns, its key left out."""
    keys = (one.key for one in inspect(row).mapper.column_attrs)
    return {key: getattr(row, key) for key in keys if key != "id"}


_TAG = re.compile(r"<(input|textarea|select)\b([^>]*)>", re.DOTALL)
_ATTRIBUTE = re.compile(r'([\w-]+)(?:="([^"]*)")?', re.DOTALL)


def _tags(page: str) -> list[tuple[str, dict[str, str], int]]:
    found = []
    for match in _TAG.finditer(page):
        attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(match[2])}
        if attributes.get("name", "") in Visit.__mapper__.columns:
            found.append((match[1], attributes, match.end()))
    return found


def fields_of(page: str) -> dict[str, str]:
    """For each field of a form its tag and what tells its kind."""
    told = ("type", "step", "class", "data-role", "maxlength", "required", "pattern")
    return {
        attributes["name"]: " ".join(
            [tag, *(f"{name}={attributes[name]}" for name in told if name in attributes)]
        )
        for tag, attributes, _ in _tags(page)
    }


def enclosing_form(page: str) -> dict[str, str]:
    """What a browser would send back if nothing was changed."""
    form: dict[str, str] = {}
    for tag, attributes, end in _tags(page):
        name = attributes["name"]
        if tag == "textarea":
            form[name] = html.unescape(page[end : page.index("</textarea>", end)]).strip()
        elif tag == "select":
            options = page[end : page.index("</select>", end)]
            chosen = re.search(r"<option\b([^>]*\bselected\b[^>]*)>", options)
            form[name] = dict(_ATTRIBUTE.findall(chosen[1]))["value"] if chosen else ""
        elif attributes.get("type") != "checkbox" or "checked" in attributes:
            form[name] = attributes.get("value", "on")
    return form
