"""ARRAY: a JSON array of the items' canonical texts."""

from __future__ import annotations

import json
from typing import ClassVar, NamedTuple

from sqlalchemy.engine.interfaces import Dialect

from encfields.codecs.base import Codec, JsonForm, KeepsValues, undecodable, wrong_type
from encfields.codecs.decorated import DecoratedCodec
from encfields.codecs.json_value import dump_json, load_json
from encfields.errors import ValueDecodingError, ValueEncodingError


class _Shape(NamedTuple):
    """What one call knows about the array: the dialect decides what a TypeDecorator decorates."""

    dialect: Dialect
    form: JsonForm
    dimensions: int | None

    def nests(self, value: object, depth: int) -> bool:
        """Whether `value`, found at `depth`, is an array of the next dimension."""
        if self.dimensions is not None and depth >= self.dimensions:
            return False
        return isinstance(value, (list, tuple))


class ArrayCodec(KeepsValues):
    """A JSON array, nested for further dimensions.

    An item is ``null``, or its canonical text in the :class:`JsonForm` of its type.

    :param item: codec of the item type.
    :param dimensions: depth of nesting, or ``None`` if each nested list is a further dimension.
        JSON items may be lists themselves, so for them ``None`` means 1.
    :param as_tuple: whether `decode` returns tuples instead of lists.
    """

    __slots__ = ("_as_tuple", "_dimensions", "_item", "max_bytes")
    json_form: ClassVar[JsonForm] = JsonForm.ANY

    def __init__(self, item: Codec, dimensions: int | None, as_tuple: bool) -> None:
        self._item = item
        self._dimensions = dimensions
        self._as_tuple = as_tuple
        self.max_bytes: int | None = None

    def encode(self, value: object, dialect: Dialect) -> bytes:
        if not isinstance(value, (list, tuple)):
            raise wrong_type("a list or a tuple", value)
        try:
            return dump_json(self._write(value, 1, self._shape(dialect)))
        except RecursionError:
            pass
        raise ValueEncodingError(
            "the array is nested too deeply; nothing was stored", reason="json"
        )

    def decode(self, data: bytes, dialect: Dialect) -> object:
        value = load_json(data)
        if isinstance(value, list):
            try:
                return self._read(value, 1, self._shape(dialect))
            except RecursionError:
                pass
        raise undecodable("a JSON array")

    def _shape(self, dialect: Dialect) -> _Shape:
        item = self._item
        while isinstance(item, DecoratedCodec):
            item = item.impl(dialect)
        dimensions = self._dimensions
        if dimensions is None and item.json_form is JsonForm.ANY:
            dimensions = 1
        return _Shape(dialect, item.json_form, dimensions)

    def _write(
        self, values: list[object] | tuple[object, ...], depth: int, shape: _Shape
    ) -> object:
        written: list[object] = []
        for value in values:
            if value is None:
                written.append(None)
            elif shape.nests(value, depth):
                written.append(self._write(value, depth + 1, shape))  # type: ignore[arg-type]
            elif shape.dimensions is not None and depth < shape.dimensions:
                raise wrong_type(f"an array of {shape.dimensions} dimensions", value)
            else:
                written.append(self._write_item(value, shape))
        return written

    def _read(self, values: list[object], depth: int, shape: _Shape) -> object:
        read: list[object] = []
        for value in values:
            if value is None:
                read.append(None)
            elif shape.nests(value, depth):
                read.append(self._read(value, depth + 1, shape))  # type: ignore[arg-type]
            else:
                read.append(self._read_item(value, shape))
        return tuple(read) if self._as_tuple else read

    def _write_item(self, value: object, shape: _Shape) -> object:
        data = self._item.encode(value, shape.dialect)
        if shape.form is JsonForm.HEX:
            return data.hex()
        if shape.form is JsonForm.TEXT:
            return data.decode()
        try:
            return load_json(data)
        except ValueDecodingError:
            if shape.form is JsonForm.NATIVE:  # NaN and the infinities
                return data.decode()
        raise ValueEncodingError(
            "the engine's json_serializer wrote an item that is not JSON; nothing was stored",
            reason="json",
        )

    def _read_item(self, value: object, shape: _Shape) -> object:
        item, dialect, form = self._item, shape.dialect, shape.form
        if form is JsonForm.ANY or (form is JsonForm.NATIVE and not isinstance(value, str)):
            return item.decode(json.dumps(value).encode(), dialect)
        if not isinstance(value, str):
            raise undecodable("a JSON array of strings")
        if form is JsonForm.HEX:
            return item.decode(_from_hex(value), dialect)
        if form is JsonForm.NATIVE and value not in ("NaN", "Infinity", "-Infinity"):
            raise undecodable("a JSON array of numbers or booleans")
        # An escaped lone surrogate is valid JSON: the item's codec then refuses the bytes.
        return item.decode(value.encode("utf-8", "surrogatepass"), dialect)


def _from_hex(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
        if data.hex() == text:
            return data
    except ValueError:
        pass
    raise undecodable("a JSON array of hexadecimal strings")
