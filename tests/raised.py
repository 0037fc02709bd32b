"""A type of an application that stores another value than it is given."""

from __future__ import annotations

from sqlalchemy import Integer, TypeDecorator


class Raised(TypeDecorator[int]):
    """Stores one more than it is given, and so what another value is."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: object) -> int | None:
        return None if value is None else value + 1

    def process_result_value(self, value: int | None, dialect: object) -> int | None:
        return None if value is None else value - 1
