"""Renders encrypted columns and this library's operations in migrations."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal

from alembic.autogenerate import renderers

from encfields.alembic.descriptions import IndexColumn
from encfields.alembic.operations.adoptions import PostponedAdoptionOp
from encfields.alembic.operations.base import NothingOp
from encfields.alembic.operations.indexes import EnsureBlindIndexOp, FillBlindIndexOp
from encfields.alembic.operations.keys import (
    CreateBranchKeyOp,
    CreateKeyTableOp,
    DropKeyTableOp,
    RetireBeaconKeyOp,
    RetireBranchKeyOp,
    RotateBeaconKeyOp,
    RotateBranchKeyOp,
)
from encfields.alembic.operations.refused_or_postponed import (
    PostponedFillOp,
    PostponedRunOp,
    RefusedChangeOp,
)
from encfields.alembic.operations.values import (
    ConvertEncryptedOp,
    DecryptColumnOp,
    EnsureEncryptedOp,
    RebindOp,
    ReencryptOp,
)
from encfields.bulk.rows.spec import SealedColumn, TableSpec
from encfields.bulk.rows.types_as_data import type_from_data
from encfields.keys.sql.schema import TABLE_NAME
from encfields.orm.declare.index_column_type import IndexColumnType
from encfields.orm.types import DEFAULT_KEY, EncryptedType

_LONG = "{sa}LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql', 'mariadb')"
_INDEX = "{sa}LargeBinary(length={n}).with_variant(mysql.VARBINARY({n}), 'mysql', 'mariadb')"
_IMPORT = "from encfields.alembic import {}"


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Alembic's ``render_item``: pass it to ``context.configure(render_item=render_item)``.

    A migration that runs again in years must not depend on this library or on today's declaration;
    to the database the column is bytes.

    :param kind: what is rendered; only ``"type"`` matters here.
    :param item: the type.
    :param autogen_context: Alembic's ``AutogenContext``.
    :returns: Python code of a ``LargeBinary`` (``LONGBLOB`` on MySQL and MariaDB; ``VARBINARY`` for
        a blind index), or ``False`` for types that are not ours.
    """
    if kind != "type" or not isinstance(item, IndexColumnType | EncryptedType):
        return False
    prefix = autogen_context.opts.get("sqlalchemy_module_prefix") or ""
    mysql = "from sqlalchemy.dialects import mysql"
    if isinstance(item, IndexColumnType):
        autogen_context.imports.add(mysql)
        return _INDEX.format(sa=prefix, n=item.length)
    if item.storage is not None and item.storage.length is not None:
        return f"{prefix}LargeBinary(length={item.storage.length})"
    autogen_context.imports.add(mysql)
    return _LONG.format(sa=prefix)


@renderers.dispatch_for(CreateKeyTableOp)
def _create_key_table(autogen_context: Any, op: CreateKeyTableOp) -> str:
    options = {"if_not_exists": op.if_not_exists}
    return rendered_call(autogen_context, op.verb, _key_table_arguments(op), op.schema, options)


@renderers.dispatch_for(DropKeyTableOp)
def _drop_key_table(autogen_context: Any, op: DropKeyTableOp) -> str:
    options = {"destroy_keys": op.destroy_keys}
    return rendered_call(autogen_context, op.verb, _key_table_arguments(op), op.schema, options)


@renderers.dispatch_for(CreateBranchKeyOp)
@renderers.dispatch_for(RotateBranchKeyOp)
def _branch_key(autogen_context: Any, op: CreateBranchKeyOp | RotateBranchKeyOp) -> str:
    return rendered_call(autogen_context, op.verb, [repr(op.key_id)], None, {})


@renderers.dispatch_for(ReencryptOp)
def _reencrypt(autogen_context: Any, op: ReencryptOp) -> str:
    arguments = _table_arguments(autogen_context, op.spec)
    arguments += rendered_indexes(autogen_context, op.indexes)
    return rendered_call(autogen_context, op.verb, arguments, op.spec.schema, {"queue": op.queue})


@renderers.dispatch_for(EnsureEncryptedOp)
def _ensure_encrypted(autogen_context: Any, op: EnsureEncryptedOp) -> str:
    arguments = _table_arguments(autogen_context, op.spec)
    return rendered_call(autogen_context, op.verb, arguments, op.spec.schema, {})


@renderers.dispatch_for(RebindOp)
def _rebind(autogen_context: Any, op: RebindOp) -> str | list[str]:
    arguments = _table_arguments(autogen_context, op.spec)
    arguments.append(f"was={rendered_columns(autogen_context, op.was.columns)}")
    arguments += rendered_indexes(autogen_context, op.indexes)
    call = rendered_call(autogen_context, op.verb, arguments, op.spec.schema, {"queue": op.queue})
    if not op.seen:
        return call
    return [
        *rendered_comment(
            f"encfields - values of {op.spec.table} are bound otherwise than declared. Do not "
            "apply this unless they were once declared as was= says: otherwise somebody put them "
            "there.",
            *op.seen,
        ),
        call,
    ]


@renderers.dispatch_for(DecryptColumnOp)
def _decrypt_column(autogen_context: Any, op: DecryptColumnOp) -> str:
    arguments = [*_table_arguments(autogen_context, op.spec), f"into={op.into!r}"]
    return rendered_call(autogen_context, op.verb, arguments, op.spec.schema, {})


@renderers.dispatch_for(FillBlindIndexOp)
def _fill_blind_index(autogen_context: Any, op: FillBlindIndexOp) -> str:
    arguments = [repr(op.spec.table), _indexes(autogen_context, op.indexes)]
    if op.spec.columns:
        arguments.append(f"columns={rendered_columns(autogen_context, op.spec.columns)}")
    flags = {"reindex": op.reindex, "queue": op.queue}
    return rendered_call(autogen_context, op.verb, arguments, op.spec.schema, flags)


@renderers.dispatch_for(EnsureBlindIndexOp)
def _ensure_blind_index(autogen_context: Any, op: EnsureBlindIndexOp) -> str:
    arguments = [repr(op.spec.table), _indexes(autogen_context, op.indexes)]
    return rendered_call(autogen_context, op.verb, arguments, op.spec.schema, {})


@renderers.dispatch_for(RotateBeaconKeyOp)
def _rotate_beacon_key(autogen_context: Any, op: RotateBeaconKeyOp) -> str:
    arguments = [repr(op.key_id)]
    arguments += [] if op.version is None else [repr(op.version)]
    return rendered_call(autogen_context, op.verb, arguments, None, {})


@renderers.dispatch_for(RetireBeaconKeyOp)
def _retire_beacon_key(autogen_context: Any, op: RetireBeaconKeyOp) -> str:
    arguments = [repr(op.key_id), repr(op.version)]
    arguments += [f"except_columns={op.except_columns!r}"] if op.except_columns else []
    return rendered_call(autogen_context, op.verb, arguments, None, {})


@renderers.dispatch_for(NothingOp)
def _nothing(autogen_context: Any, op: NothingOp) -> list[str]:
    return []


@renderers.dispatch_for(RefusedChangeOp)
def _refused_change(autogen_context: Any, op: RefusedChangeOp) -> list[str]:
    where = f"{op.table_name}.{op.column}"
    lines = rendered_comment(f"encfields - {where}, {op.reason}.", *op.steps)
    if not op.upwards:
        return [*lines[:1], "pass"]
    return [
        *lines,
        f"raise NotImplementedError({f'{where}, {op.reason}; see the comment above'!r})",
    ]


@renderers.dispatch_for(PostponedRunOp)
def _postponed_run(autogen_context: Any, op: PostponedRunOp) -> list[str]:
    run = op.run
    names = ", ".join(c.name for c in run.spec.columns)
    are, do = (
        ("bound otherwise than declared", "rebound")
        if isinstance(run, RebindOp)
        else ("of another type than declared", "converted")
    )
    return rendered_comment(
        f"encfields - values of {run.spec.table}.{names} are {are}, and must be {do} in a revision "
        "of their own. Apply this one, then run `alembic revision --autogenerate` again, which "
        f"writes op.{run.verb}(...)."
    )


@renderers.dispatch_for(PostponedAdoptionOp)
def _postponed_adoption(autogen_context: Any, op: PostponedAdoptionOp) -> list[str]:
    adopted = op.step.adopted
    return rendered_comment(
        f"encfields - the next step of the adoption of {adopted.table}.{adopted.plain} needs a "
        "revision of its own. Apply this one, then run `alembic revision --autogenerate` again, "
        f"which writes op.{op.step.verb}(...)."
    )


@renderers.dispatch_for(PostponedFillOp)
def _postponed_fill(autogen_context: Any, op: PostponedFillOp) -> list[str]:
    names = ", ".join(index.name for index in op.fill.indexes)
    table = op.fill.spec.table
    imported = set(autogen_context.imports)
    code = _fill_blind_index(autogen_context, op.fill)
    autogen_context.imports.intersection_update(imported)  # the code is in a comment
    return [
        *rendered_comment(
            f"encfields - rows already in {table} are not in {names}, and queries by the index "
            "miss them. Deploy the application that writes the index, then fill it in a revision "
            "of its own (which `alembic revision --autogenerate` writes on a database that has "
            "such rows)"
        ),
        f"#     {code}",
    ]


def _key_table_arguments(op: CreateKeyTableOp | DropKeyTableOp) -> list[str]:
    return [] if op.table_name == TABLE_NAME else [repr(op.table_name)]


def _table_arguments(autogen_context: Any, spec: TableSpec) -> list[str]:
    return [repr(spec.table), rendered_columns(autogen_context, spec.columns)]


def rendered_columns(autogen_context: Any, columns: Sequence[SealedColumn]) -> str:
    """Encrypted columns as an operation's argument."""
    return f"[{', '.join(_column(autogen_context, column) for column in columns)}]"


def rendered_indexes(autogen_context: Any, indexes: Sequence[IndexColumn]) -> list[str]:
    """An operation's argument ``indexes=``, if there are any."""
    return [f"indexes={_indexes(autogen_context, indexes)}"] if indexes else []


def _indexes(autogen_context: Any, indexes: Sequence[IndexColumn]) -> str:
    return f"[{', '.join(_index(autogen_context, index) for index in indexes)}]"


def _index(autogen_context: Any, index: IndexColumn) -> str:
    given = [
        f"{field.name}={getattr(index, field.name)!r}"
        for field in fields(index)
        if field.name != "name" and getattr(index, field.name) != field.default
    ]
    if not given:
        return repr(index.name)
    autogen_context.imports.add(_IMPORT.format(IndexColumn.__name__))
    return f"IndexColumn({', '.join([repr(index.name), *given])})"


def _column(autogen_context: Any, column: SealedColumn) -> str:
    options = {
        "logical_name": column.logical_name,
        "bind_to": column.bind_to,
        "context_names": column.context_names,
        "uuids": column.uuids,
    }
    given = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    given += [f"key={column.key!r}"] if column.key != DEFAULT_KEY else []
    given += [f"former_keys={column.former_keys!r}"] if column.former_keys else []
    if not given:
        return repr(column.name)
    autogen_context.imports.add(_IMPORT.format(SealedColumn.__name__))
    return f"SealedColumn({', '.join([repr(column.name), *given])})"


def rendered_call(
    autogen_context: Any,
    verb: str,
    arguments: Sequence[str],
    schema: str | None,
    flags: dict[str, bool],
) -> str:
    """One call, not formatted."""
    prefix = autogen_context.opts.get("alembic_module_prefix") or ""
    given = list(arguments)
    given += [f"schema={schema!r}"] if schema is not None else []
    given += [f"{name}=True" for name, given in flags.items() if given]
    return f"{prefix}{verb}({', '.join(given)})"


def rendered_comment(*paragraphs: str) -> list[str]:
    """Lines of a comment."""
    # Mako treats any line ending with a colon as the head of a block, even a comment.
    lines = [line for p in paragraphs for line in textwrap.wrap(p, 88)]
    return [f"# {line.rstrip(':')}" for line in lines]


@renderers.dispatch_for(RetireBranchKeyOp)
def _retire_branch_key(autogen_context: Any, op: RetireBranchKeyOp) -> str:
    tables = ", ".join(
        f"{spec.full_name!r}: {rendered_columns(autogen_context, spec.columns)}"
        for spec in op.specs
    )
    arguments = [repr(op.key_id), f"{{{tables}}}"]
    return rendered_call(autogen_context, op.verb, arguments, None, {"at_once": op.at_once})


@renderers.dispatch_for(ConvertEncryptedOp)
def _convert_encrypted(autogen_context: Any, op: ConvertEncryptedOp) -> str | list[str]:
    prefix = autogen_context.opts.get("sqlalchemy_module_prefix") or ""
    was, to = (f"{prefix}{type_from_data(type_)!r}" for type_ in op.types)
    column = rendered_columns(autogen_context, op.spec.columns)[1:-1]
    arguments = [repr(op.spec.table), column, f"was={was}", f"to={to}"]
    if op.was_bound != op.spec.columns[0]:
        arguments.append(f"was_bound={rendered_columns(autogen_context, [op.was_bound])[1:-1]}")
    arguments += rendered_indexes(autogen_context, op.indexes)
    call = rendered_call(autogen_context, op.verb, arguments, op.spec.schema, {"queue": op.queue})
    return [*rendered_comment(*op.seen), call] if op.seen else call
