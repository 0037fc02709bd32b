"""``Formerly``: how a column's values were stored before its declaration changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sqlalchemy.types import JSON, LargeBinary, String, TypeDecorator, TypeEngine

from encfields.arguments import check_text, names
from encfields.codecs import codec_for
from encfields.codecs.conversion import ChangedCodec
from encfields.errors import DeclarationError
from encfields.expected_arguments import INNER_TYPE, require
from encfields.key_template import KeyTemplate
from encfields.orm import internals

if TYPE_CHECKING:
    from encfields.codecs import Codec

Phase = Literal["write-former", "write-new"]

WRITE_FORMER: Phase = "write-former"
WRITE_NEW: Phase = "write-new"


class Formerly:
    """How the values of an encrypted column were stored before its declaration was changed.

    Whatever is not given was the same as it is declared now. Both phases read values of either way:

    - ``"write-former"``: values are written the former way. May run beside the application with the
      former declaration.
    - ``"write-new"``: values are written the new way, and a run (``encfields rebind`` or
      ``encfields convert``) moves the existing ones. May run beside ``"write-former"``; and, once
      the run has moved all, beside the declaration without ``formerly=``.

    :param inner: the inner type. :param name: the logical name.
    :param bind_to: the columns that identified the row. :param key: the branch key id or template.
    :param phase: the phase of this version of the application.
    :raises DeclarationError: nothing is given, or the phase is neither of the two.
    """

    def __init__(
        self,
        *,
        inner: TypeEngine[Any] | type[TypeEngine[Any]] | None = None,
        name: str | None = None,
        bind_to: Sequence[str] | str | None = None,
        key: str | None = None,
        phase: Phase,
    ) -> None:
        if phase not in (WRITE_FORMER, WRITE_NEW):
            raise DeclarationError(
                'the phase of formerly=Formerly(phase=...) is "write-former" or "write-new"',
                reason="phase",
            )
        check_text("name", name)
        require("inner", INNER_TYPE.or_none, inner, DeclarationError)
        self.inner = inner() if isinstance(inner, type) else inner
        self.name = name
        self.bind_to = None if bind_to is None else names("bind_to", bind_to)
        self.key = key
        self.phase = phase
        if inner is None and name is None and bind_to is None and key is None:
            raise DeclarationError(
                "formerly=Formerly(...) says what was different: inner=, name=, bind_to= or key=",
                reason="formerly",
            )
        if key is not None:
            KeyTemplate(key)
        if self.inner is not None:
            codec_for(self.inner)

    @property
    def writes_former(self) -> bool:
        """Whether values are written the former way."""
        return self.phase == WRITE_FORMER

    @property
    def cache_key(self) -> tuple[Any, ...]:
        """What distinguishes two of these in SQLAlchemy's statement cache."""
        inner = self.inner and internals.cache_key_of(self.inner)
        return inner, self.name, self.bind_to, self.key, self.phase

    def __repr__(self) -> str:
        said: list[tuple[str, object]] = [("inner", self.inner), ("name", self.name)]
        said += [("bind_to", self.bind_to), ("key", self.key)]
        shown = [f"{option}={value!r}" for option, value in said if value is not None]
        return f"Formerly({', '.join([*shown, f'phase={self.phase!r}'])})"


class Declared(Protocol):
    """The attributes used of an encrypted column's type."""

    inner: TypeEngine[Any]
    key: str
    former_keys: tuple[str, ...]
    name: str | None
    bind_to: tuple[str, ...] | None
    codec: Codec
    formerly: Formerly | None


class Way:
    """One way of storing a column's values: the declared one, or the former.

    :param type_: the column's type. :param is_former: which of the two.
    """

    def __init__(self, type_: Declared, *, is_former: bool) -> None:
        formerly = type_.formerly
        was = formerly if is_former else None
        self.is_former = is_former
        self.name = type_.name if was is None or was.name is None else was.name
        self.bind_to = type_.bind_to if was is None or was.bind_to is None else was.bind_to
        self.key = type_.key if was is None or was.key is None else was.key
        self.former_keys = type_.former_keys if was is None or was.key is None else ()
        self.codec: Codec = type_.codec
        self._type = type_

    def codec_beside_other(self, contexts_differ: bool) -> Codec:
        """The codec of this way's values, if those of the other way are read too.

        :param contexts_differ: whether a message's context shows which way it was stored.
        """
        formerly = self._type.formerly
        if formerly is None or formerly.inner is None:
            return self.codec
        return ChangedCodec(
            formerly.inner,
            self._type.inner,
            is_old=self.is_former if contexts_differ else None,
            writes_former=self.is_former,
        )


def ways_of(type_: Declared) -> tuple[Way, ...]:
    """The ways in which a column's values are stored, the written one first."""
    declared = Way(type_, is_former=False)
    if type_.formerly is None:
        return (declared,)
    former = Way(type_, is_former=True)
    return (former, declared) if type_.formerly.writes_former else (declared, former)


def look_alike(was: TypeEngine[Any], to: TypeEngine[Any]) -> bool:
    """Whether a plaintext of one type may also be one of the other, with a different meaning."""
    kinds = {_kind(was), _kind(to)}
    return kinds in ({String, JSON}, {LargeBinary, JSON})


def _kind(type_: TypeEngine[Any]) -> type[Any] | None:
    while isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance
    return next((kind for kind in (JSON, String, LargeBinary) if isinstance(type_, kind)), None)
