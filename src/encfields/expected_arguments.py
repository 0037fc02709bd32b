"""What public functions take, checked when they are called.

An argument of the wrong type would otherwise be noticed deep inside, or not before the first row:
as somebody else's ``AttributeError``, or not at all, since any text is true and any text can be
iterated. The error names the argument and what to give; it never shows what was given, which may be
a secret in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from inspect import Signature, signature
from typing import Any, NamedTuple, ParamSpec, TypeVar

from encfields.arguments import is_unicode, kind
from encfields.errors import ConfigurationError, EncFieldsError

_P = ParamSpec("_P")
_R = TypeVar("_R")
Kinds = type | tuple[type, ...]


class Expected(NamedTuple):
    """What one argument may be.

    :ivar said: it, for the error.
    :ivar kinds: gives its types. A function, since modules are imported when they are needed.
    :ivar is_good: what else must be true of a value of these types.
    :ivar optional: whether ``None`` stands for leaving it out.
    """

    said: str
    kinds: Callable[[], Kinds]
    is_good: Callable[[Any], bool] = lambda value: True
    optional: bool = False

    @property
    def or_none(self) -> Expected:
        """The same, but it may be left out."""
        return self._replace(optional=True)

    def refusal(self, name: str, value: Any, error: type[EncFieldsError]) -> EncFieldsError | None:
        """The error about a value that is something else.

        :param name: the argument's. :param error: the error's class.
        """
        if value is None and self.optional:
            return None
        kinds = self.kinds()
        # A flag is a number to Python, and to nobody else.
        right_type = isinstance(value, kinds) and (type(value) is not bool or kinds is bool)
        if right_type and self.is_good(value):
            return None
        given = f"this {type(value).__name__}" if right_type else kind(value)
        reason = name.strip("_").replace("_", "-")
        return error(f"{name}= takes {self.said}, not {given}", reason=reason)


def takes(**expected: Expected) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorator: check arguments before the function is called.

    :param expected: what each may be, by its name.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        of_function = signature(function)

        @wraps(function)
        def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            refusal = _first_refusal(of_function, expected, args, kwargs)
            if refusal is None:
                return function(*args, **kwargs)
            del args, kwargs
            raise refusal

        return checked

    return decorate


def _first_refusal(
    of_function: Signature,
    expected: Mapping[str, Expected],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> EncFieldsError | None:
    try:
        given = of_function.bind(*args, **kwargs).arguments
    except TypeError:
        return None  # Python's own error, about missing or surplus arguments, follows
    refusals = (
        each.refusal(name, given[name], ConfigurationError)
        for name, each in expected.items()
        if name in given
    )
    return next(filter(None, refusals), None)


def require(
    name: str, expected: Expected, value: Any, error: type[EncFieldsError] = ConfigurationError
) -> None:
    """Check one value by the name of its argument.

    :raises EncFieldsError: of the class `error`, if it is something else.
    """
    refusal = expected.refusal(name, value, error)
    if refusal is not None:
        raise refusal


def require_all(expected: Mapping[str, Expected], given: Mapping[str, Any]) -> None:
    """Check arguments where a decorator would be in the way.

    :param expected: what each may be, by its name; the function has some of them.
    :param given: ``locals()``, before anything else is in it.
    :raises ConfigurationError: one is something else.
    """
    for name, each in expected.items():
        if name in given:
            require(name, each, given[name])


def _is_text(value: str) -> bool:
    return bool(value.strip()) and is_unicode(value)


def are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) and is_unicode(value) for value in values)


def _binds() -> Kinds:
    from sqlalchemy import Connection, Engine

    return Engine, Connection


def _types() -> tuple[type, ...]:
    from sqlalchemy.types import TypeEngine

    return TypeEngine, type


def is_type(value: Any) -> bool:
    from sqlalchemy.types import TypeEngine

    return not isinstance(value, type) or issubclass(value, TypeEngine)


def _tables() -> Kinds:
    from sqlalchemy import Table

    return Table


FLAG = Expected("True or False", lambda: bool)
TEXT = Expected("text that is not blank", lambda: str, _is_text)
ANY_TEXT = Expected("text", lambda: str, is_unicode)
KEY_ID = Expected("a key's id, which is text", lambda: str, is_unicode)
KEY_IDS = Expected(
    "a list of keys' ids, which are texts",
    lambda: list,
    lambda value: all(isinstance(key_id, str) for key_id in value),
)
MOMENT = Expected("a datetime with a time zone", lambda: datetime)
CALLABLE = Expected("a function", lambda: object, callable)
COUNT = Expected("a whole number of 1 or more", lambda: int, lambda value: value >= 1)
LENGTH = Expected("a whole number of 0 or more", lambda: int, lambda value: value >= 0)
ROW = Expected("a dictionary by column, such as {'id': 42}", lambda: Mapping)
BIND = Expected("an Engine, or a Connection, of a synchronous driver", _binds)
INNER_TYPE = Expected("a type of SQLAlchemy's, such as String(20)", _types, is_type)
TABLE = Expected("a declared Table, such as Patient.__table__", _tables)
COLUMN_NAMES = Expected(
    "a dictionary from column name to column name",
    lambda: Mapping,
    lambda value: are_texts([*value, *value.values()]),
)
BY_COLUMN = Expected("a dictionary by column", lambda: Mapping, are_texts)
PAIRS = Expected(
    "a dictionary of texts", lambda: Mapping, lambda value: are_texts([*value, *value.values()])
)
SPECS = Expected(
    "a list of TableSpec, such as [TableSpec.from_table(Patient.__table__)]",
    lambda: Sequence,
    lambda value: (
        not isinstance(value, str | bytes) and all(hasattr(table, "count_under") for table in value)
    ),
)
STOP = Expected("a threading.Event", lambda: object, lambda value: hasattr(value, "is_set"))
