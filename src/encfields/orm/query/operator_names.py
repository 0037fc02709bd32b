"""Names of SQLAlchemy's operators in error messages, as an application writes them."""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql.operators import custom_op

_SYMBOLS = {
    "add": "+",
    "and_": "&",
    "eq": "==",
    "floordiv": "//",
    "ge": ">=",
    "getitem": "[]",
    "gt": ">",
    "inv": "~",
    "json_getitem_op": "[]",
    "json_path_getitem_op": "[]",
    "le": "<=",
    "lshift": "<<",
    "lt": "<",
    "matmul": "@",
    "mod": "%",
    "mul": "*",
    "ne": "!=",
    "neg": "-",
    "or_": "|",
    "pow": "**",
    "rshift": ">>",
    "sub": "-",
    "truediv": "/",
}


def operator_name(operator: Any) -> str:
    """An operator as it is written in Python: ``!=``, ``not_in()``, ``op('@>')``.

    :param operator: SQLAlchemy's function for it, such as ``operators.not_in_op``.
    """
    if isinstance(operator, custom_op):
        return f"op({operator.opstring!r})"
    name = str(getattr(operator, "__name__", operator))
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    method = name.removesuffix("_op")
    return f"{method}_()" if method in ("all", "any", "in") else f"{method}()"
