"""The encryption context that a message is bound to, and its serialised form.

The context of a column value has one pair for the column's logical name and one pair per
identity column::

    {"enc:column": "patient.ssn", "enc:row:id": "42"}

Pairs are serialised as the AWS Encryption SDK specifies (``data-format/message-header.md``,
"AAD", and ``framework/structures.md``, "Encryption Context"): a two-byte count, then for each
pair, sorted by the key's UTF-8 bytes, two length-prefixed strings. No string of ours is ever
concatenated with a value, so no two identities share a form.

The key names are part of every stored message and must never change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encfields.arguments import kind
from encfields.errors import BindingError, MalformedMessageError

COLUMN_KEY = "enc:column"
"""Context key of the column's logical name. Must never change."""

ROW_KEY_PREFIX = "enc:row:"
"""Prefix of an identity column's context key. Must never change."""

RUN_KEY = "enc:run"
"""Context key, and prefix of context keys, of what bulk runs seal; values never have it."""

MAX_FIELD_BYTES = 0xFFFF
"""Most bytes of a key, of a value and of a whole context in the message format."""

RESERVED_PREFIX = "aws-crypto-"
"""Prefix that the AWS Encryption SDK reserves."""


def _field(text: str) -> bytes:
    """One string as in the specification: two bytes of length, then UTF-8."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise BindingError(
            "a part of the encryption context is not valid Unicode (it holds a lone surrogate)",
            reason="context-encoding",
        ) from None
    if len(data) > MAX_FIELD_BYTES:
        raise BindingError(
            f"a part of the encryption context is {len(data)} bytes long; "
            f"the message format holds {MAX_FIELD_BYTES}",
            reason="context-too-long",
        )
    return len(data).to_bytes(2, "big") + data


_SHORT = 64
_SHORT_LENGTHS = tuple(size.to_bytes(2, "big") for size in range(_SHORT))


def _check_total(serialized: bytes) -> bytes:
    if len(serialized) > MAX_FIELD_BYTES:
        raise BindingError(
            f"the encryption context is {len(serialized)} bytes long; "
            f"the message format holds {MAX_FIELD_BYTES}",
            reason="context-too-long",
        )
    return serialized


def serialize(context: Mapping[str, str]) -> bytes:
    """The specification's serialisation of `context`.

    :returns: two bytes of count and the sorted pairs; ``b""`` for an empty context.
    :raises BindingError: a key or value is not Unicode or too long, or a key is reserved.
    """
    if not isinstance(context, Mapping):
        raise BindingError(
            f"an encryption context is a dictionary of strings, not {kind(context)}",
            reason="context-type",
        )
    if not context:
        return b""
    for key, value in context.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise BindingError(
                "keys and values of an encryption context are strings", reason="context-type"
            )
        if key.startswith(RESERVED_PREFIX):
            raise BindingError(
                f"context keys that start with {RESERVED_PREFIX!r} belong to the AWS SDK",
                reason="context-reserved",
            )
    pairs = sorted((_field(key), _field(value)) for key, value in context.items())
    pairs.sort(key=lambda pair: pair[0][2:])
    body = b"".join(key + value for key, value in pairs)
    return _check_total(len(pairs).to_bytes(2, "big") + body)


def deserialize(serialized: bytes) -> dict[str, str]:
    """The pairs of a serialised context, in their stored order.

    :raises MalformedMessageError: lengths or text do not fit, or a key is repeated.
    """
    if not serialized:
        return {}
    context: dict[str, str] = {}
    position = 2
    for _ in range(int.from_bytes(serialized[:2], "big")):
        key, position = _read_field(serialized, position)
        value, position = _read_field(serialized, position)
        if key in context:
            raise MalformedMessageError(
                "the encryption context repeats a key", offset=position, reason="context"
            )
        context[key] = value
    if position != len(serialized) or not context:
        raise MalformedMessageError(
            "the encryption context has the wrong length", offset=position, reason="context"
        )
    return context


def _read_field(data: bytes, position: int) -> tuple[str, int]:
    start = position + 2
    end = start + int.from_bytes(data[position:start], "big")
    if start > len(data) or end > len(data):
        raise MalformedMessageError(
            "the encryption context is cut short", offset=position, reason="context"
        )
    try:
        return data[start:end].decode("utf-8"), end
    except UnicodeDecodeError:
        raise MalformedMessageError(
            "the encryption context is not UTF-8", offset=start, reason="context"
        ) from None


class RowContext:
    """The encryption context of one column, completed with each row's identity.

    The fixed part is serialised once, so completing it takes well under a microsecond.

    :param column: the column's logical name, for instance ``"patient.ssn"``.
    :param identity: names of the identity columns, in the order in which their texts are given.
    :ivar head: the part common to all rows: the number of pairs, and the column's pair.
    :ivar parts: for each following pair, its text's position and its serialised key.
    """

    __slots__ = ("column", "head", "identity", "parts")

    def __init__(self, column: str, identity: Sequence[str]) -> None:
        self.column = column
        self.identity = tuple(identity)
        count = 1 + len(self.identity)
        # "enc:column" sorts before every "enc:row:..." whatever the names are.
        self.head = count.to_bytes(2, "big") + _field(COLUMN_KEY) + _field(column)
        order = sorted(range(len(self.identity)), key=lambda i: self.identity[i].encode("utf-8"))
        self.parts = tuple((i, _field(ROW_KEY_PREFIX + self.identity[i])) for i in order)

    def serialize(self, texts: Sequence[str]) -> bytes:
        """Serialised context of the row whose identity's canonical texts are `texts`.

        :raises BindingError: a text is not Unicode, or too long for the message format.
        """
        out = self.head
        for index, name in self.parts:
            text = texts[index]
            # _field() inlined, since nearly every key is short and ASCII. Naming an encoding
            # takes encode() three times as long.
            if len(text) < _SHORT and text.isascii():
                out += name + _SHORT_LENGTHS[len(text)] + text.encode()
            else:
                out += name + _field(text)
        return out if len(out) <= MAX_FIELD_BYTES else _check_total(out)

    def serialize_each(self, texts: Sequence[str]) -> list[bytes]:
        """:meth:`serialize` for many rows whose identity has one text.

        :raises BindingError: a text is not Unicode, or too long for the message format.
        """
        if not "".join(texts).isascii() or len(max(texts, key=len, default="")) >= _SHORT:
            return [self.serialize((text,)) for text in texts]
        ((_, name),) = self.parts
        heads = [self.head + name + length for length in _SHORT_LENGTHS]
        return [heads[len(text)] + text.encode() for text in texts]

    def differs_from(self, other: RowContext) -> bool:
        """Whether the two can never give the same context, for any row."""
        return self.column != other.column or set(self.identity) != set(other.identity)

    def as_dict(self, texts: Sequence[str]) -> dict[str, str]:
        """The context as pairs for an AWS Encryption SDK client."""
        pairs = {COLUMN_KEY: self.column}
        for name, text in zip(self.identity, texts, strict=True):
            pairs[ROW_KEY_PREFIX + name] = text
        return pairs

    def row(self, texts: Sequence[str]) -> dict[str, str]:
        """The row's identity, for error messages."""
        return dict(zip(self.identity, texts, strict=True))


def difference(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """Why a value's context is not the expected one, for an error's text.

    :param found: the message's context. :param expected: its place's context.
    """
    both = f"the value was sealed for {dict(found)}, not for {dict(expected)}: "
    if found.items() < expected.items():
        lacking = ", ".join(repr(name) for name in expected if name not in found)
        return (
            f"{both}its encryption context lacks {lacking}. Whatever writes to this column must "
            "give the whole context, and use no materials manager with required encryption context "
            "keys, which would leave pairs out of the message"
        )
    if found.items() > expected.items():
        return f"{both}its encryption context has pairs that the place does not have"
    return f"{both}it was moved or copied here after it was written"
