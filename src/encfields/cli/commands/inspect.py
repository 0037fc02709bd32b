"""``encfields inspect``: shows a message's header, without a key."""

from __future__ import annotations

import argparse
import base64
import binascii
import io
import re
import sys
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, MetaData, Table, select, type_coerce
from sqlalchemy import types as sqltypes
from sqlalchemy.exc import NoSuchTableError

from encfields.cli import exits
from encfields.cli.output import Output
from encfields.cli.parsing import add_command
from encfields.cli.settings import Settings, add_common_options
from encfields.context import deserialize
from encfields.errors import ConfigurationError, MalformedMessageError
from encfields.identity import FROM_TEXT, IdentityKind
from encfields.legacy import MAX_DATA_KEYS, is_legacy
from encfields.message.body import read_frames
from encfields.message.header import MAGIC, TAG_BYTES, as_bytes, read_header
from encfields.orm.declare.row_keys import kind_of

_DESCRIPTION = """\
Print what a stored value says about itself: format, suite, branch key and version, encryption
context, sizes. No key is used, so nothing is proved; `encfields verify` does that.
Messages of other suites, keyrings and format version 1 are described too, with exit status 1.

  encfields inspect 020478...                    hexadecimal, with or without 0x or \\x
  encfields inspect AgR4...                      base64
  encfields inspect value.bin                    a file; - is standard input
  encfields inspect patient.ssn 42               a row of --database, by its primary key
  encfields inspect app.seat.guest hall=A number=7
"""

_SUITE = "AES-256-GCM, HKDF-SHA512, key commitment, no signature"
_HEX = re.compile(r"(0x|\\x)?((?:[0-9a-fA-F]{2})+)", re.ASCII)


def register(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "inspect",
        summary="show what a message says about itself; needs no key",
        description=_DESCRIPTION,
    )
    add_common_options(parser)
    parser.add_argument("what", metavar="MESSAGE", help="the message, or [schema.]table.column")
    parser.add_argument(
        "key", metavar="KEY", nargs="*", help="primary key of the row: values, or name=value"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Find the message and print what it says."""
    value = _stored(arguments) if arguments.key else given(arguments.what)
    try:
        document = describe(as_bytes(value))
    except MalformedMessageError as error:
        document = _not_of_ours(value, error)
    if output.as_json:
        output.json(document)
    else:
        _print_message(document, output)
    if "legacy" in document:
        return exits.WORK_LEFT
    return exits.OK if "fault" not in document else exits.FAULTS


def _not_of_ours(value: Any, error: MalformedMessageError) -> dict[str, Any]:
    """What can be said of a value that is not in our format."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        legacy = describe_legacy(bytes(value), error)
        if legacy is not None:
            return legacy
    length = len(value) if hasattr(value, "__len__") else len(str(value))
    return {"bytes": length, **_fault(error)}


def describe(data: bytes) -> dict[str, Any]:
    """A message's header as plain data, with ``fault`` if its body is not whole.

    :raises MalformedMessageError: it is not a message of suite 0x0478 with a data key of the
        hierarchical keyring.
    """
    header = read_header(data)
    document: dict[str, Any] = {
        "format": MAGIC[0],
        "suite": f"0x{MAGIC[1:].hex()}",
        "suite_name": _SUITE,
        "keys": [{"key_id": key.key_id, "version": key.version} for key in header.keys],
        "context": deserialize(header.context),
        "message_id": header.message_id.hex(),
        "frame_length": header.frame_length,
        "bytes": len(data),
        "header_bytes": header.body_offset,
    }
    try:
        frames = read_frames(data, header)
    except MalformedMessageError as error:
        return {**document, **_fault(error)}
    content = sum(end - start - TAG_BYTES for _, _, start, end in frames)
    return {**document, "frames": len(frames), "content_bytes": content}


def _fault(error: MalformedMessageError) -> dict[str, Any]:
    return {"fault": error.message, "reason": error.reason, "offset": error.offset}


def _print_message(document: dict[str, Any], output: Output) -> None:
    names = {
        "format": "format version",
        "suite": "algorithm suite",
        "message_id": "message id",
        "frame_length": "frame length",
        "bytes": "bytes in all",
        "header_bytes": "bytes of header",
        "header_bytes_before_tag": "bytes of header before its tag",
        "content_bytes": "bytes of content",
    }
    rows: list[list[str]] = []
    for name, value in document.items():
        if name == "suite_name":
            rows[-1][1] += f" ({value})"
        elif name == "keys":
            rows += [pair for key in value for pair in _key_rows(key)]
        elif name == "context":
            rows += [[f"context {pair}", text] for pair, text in value.items()]
        elif name not in ("reason", "offset", "fault", "legacy"):
            rows.append([names.get(name, name), str(value)])
    output.table("what the value says of itself", ["", ""], rows)
    if "fault" in document:
        output.line(document["fault"], style="red")
    if "legacy" in document:
        output.line(f"Not in our format: {document['legacy']}", style="yellow")


def _key_rows(key: dict[str, str]) -> list[list[str]]:
    if "provider" in key:
        return [["key provider", key["provider"]], ["key", key["provider_info"]]]
    return [["branch key", key["key_id"]], ["version", key["version"]]]


def given(text: str) -> bytes:
    """The bytes that an argument stands for.

    :raises ConfigurationError: it is neither hexadecimal, base64 nor a file.
    """
    if text == "-":
        return sys.stdin.buffer.read()
    if found := _HEX.fullmatch(text):
        return bytes.fromhex(found[2])
    try:
        if Path(text).is_file():
            return Path(text).read_bytes()
    except OSError as error:
        if len(text) < 256:  # longer texts are not paths
            raise ConfigurationError(
                f"the file cannot be read: {error.strerror}", reason="file"
            ) from None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        # Not repeated: it may be a plaintext.
        raise ConfigurationError(
            "the argument is neither hexadecimal nor base64, and there is no such file. For a row "
            "of the database give table.column and the row's primary key",
            reason="message",
        ) from None


def _stored(arguments: argparse.Namespace) -> Any:
    with Settings(arguments).open_engine() as engine:
        return stored_value(engine, arguments.what, arguments.key)


def stored_value(engine: Engine, place: str, key: list[str]) -> Any:
    """One stored value, as the driver gives it.

    :param place: ``[schema.]table.column``.
    :param key: values of the primary key in its order, or ``name=value``.
    :raises ConfigurationError: there is no such place or row, or the value is NULL.
    """
    table_name, _, column_name = place.rpartition(".")
    if not table_name:
        raise ConfigurationError(f"{place!r} names no column; write TABLE.COLUMN", reason="options")
    schema, _, bare = table_name.rpartition(".")
    try:
        table = Table(bare, MetaData(), schema=schema or None, autoload_with=engine)
    except (NoSuchTableError, UnicodeError):  # no table has a name that is not text
        raise ConfigurationError(
            "there is no such table", table=table_name, reason="no-table"
        ) from None
    if column_name not in table.c:
        raise ConfigurationError(
            f"the table has no column {column_name}", table=table_name, reason="column"
        )
    columns = list(table.primary_key.columns)
    conditions = [c == _typed(c, text) for c, text in _pairs(columns, key, bare)]
    raw = type_coerce(table.c[column_name], sqltypes.NullType())
    with engine.connect() as connection:
        try:
            rows: Any = connection.execute(select(raw).where(*conditions).limit(1)).all()
        except (OverflowError, UnicodeError):  # SQLite's driver sends no key that it cannot store
            rows = []
    if not rows or rows[0][0] is None:
        what = "the value is NULL" if rows else "there is no such row"
        raise ConfigurationError(what, table=bare, column=column_name, reason="no-value")
    return rows[0][0]


def _pairs(columns: list[Column[Any]], key: list[str], table: str) -> list[tuple[Any, str]]:
    names = [column.name for column in columns]
    texts: dict[str, str] = {}
    for number, part in enumerate(key):
        name, equals, text = part.partition("=")
        if equals and name in names:
            texts[name] = text
        elif number < len(names):
            texts[names[number]] = part
    if set(texts) != set(names) or len(key) != len(names):
        raise ConfigurationError(
            f"the primary key has the columns {', '.join(names) or 'none'}; give each one's value",
            table=table,
            reason="primary-key",
        )
    return [(column, texts[column.name]) for column in columns]


def _typed(column: Column[Any], text: str) -> Any:
    """The value of a key column that `text` stands for."""
    kind = kind_of(column.type)
    try:
        if kind is IdentityKind.CHAR and getattr(column.type, "length", None) == 32:
            return _uuid_in_hex(text)
        return FROM_TEXT[kind](text)
    except ValueError:
        raise ConfigurationError(
            f"the key is no {kind.value}", column=column.name, reason="primary-key"
        ) from None


def _uuid_in_hex(text: str) -> str:
    """Without a UUID type they are stored as 32 digits."""
    try:
        return uuid.UUID(text).hex
    except ValueError:
        return text


def describe_legacy(data: bytes, error: MalformedMessageError) -> dict[str, Any] | None:
    """A message of another program as plain data; ``legacy`` says why it is not ours.

    AWS's parser reads it, since ours does not support other suites and format version 1. That
    parser is not a public interface, so any error of it only means that there is less to show.

    :param error: why our reader refused it.
    :returns: ``None`` if it is no whole header of such a message.
    """
    if not is_legacy(error):
        return None
    try:
        from aws_encryption_sdk.internal.formatting.deserialize import deserialize_header

        header, raw = deserialize_header(io.BytesIO(data), MAX_DATA_KEYS)
        keys = sorted(
            (edk.key_provider.provider_id, _text(edk.key_provider.key_info))
            for edk in header.encrypted_data_keys
        )
        return {
            "format": header.version.value,
            "suite": f"0x{header.algorithm.algorithm_id:04x}",
            "suite_name": header.algorithm.name,
            "keys": [{"provider": provider, "provider_info": info} for provider, info in keys],
            "context": dict(header.encryption_context),
            "message_id": header.message_id.hex(),
            "frame_length": header.frame_length,
            "bytes": len(data),
            "header_bytes_before_tag": len(raw),
            "legacy": error.message,
            "reason": error.reason,
        }
    except Exception:
        return None


def _text(info: bytes) -> str:
    """A key's name or ARN. The raw AES keyring's is followed by lengths and an IV."""
    return bytes(info).decode("utf-8", "backslashreplace")
