"""Errors that leave this library without what its functions were working on.

Whoever reports errors may record the local variables of every function that an error passed
through. Below the doors by which an application enters this library these are data keys, branch
keys and plaintexts. So at each door the frames below it are taken off the error, off its causes
and off what it happened in the midst of; the door's own frame holds nothing but the error.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec, TypeVar

from encfields.errors import EncFieldsError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def leaves_no_trace(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function whose errors hold no frame of what it called, and none of its arguments.

    Of an error that is not of this library, such as one that an application's own type raised,
    the places that it passed are kept as a note, without their variables.
    """

    @wraps(function)
    def door(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            failure = error
        del args, kwargs
        # Outside of the handler: what is being handled here is the caller's, and is left alone.
        raise without_frames(failure, sys.exc_info()[1])

    return door


def without_frames(error: BaseException, handled: BaseException | None) -> BaseException:
    """The same error, of which no frame is left, nor of any that it is chained to.

    :param handled: what the caller was handling, which the error may be chained to.
    """
    if not isinstance(error, EncFieldsError) and error.__traceback__ is not None:
        places = "".join(traceback.format_tb(error.__traceback__))
        error.add_note(f"It passed these places, whose frames are left out:\n{places}")
    for each in chained(error, handled):
        each.__traceback__ = None
    return error


def chained(error: BaseException, end: BaseException | None = None) -> Iterator[BaseException]:
    """An error and every one that can be reached from it, up to `end`."""
    seen: set[int] = {id(end)}
    waiting: list[BaseException | None] = [error]
    while waiting:
        exception = waiting.pop()
        if exception is None or id(exception) in seen:
            continue
        seen.add(id(exception))
        yield exception
        waiting += [exception.__cause__, exception.__context__]
        if isinstance(exception, BaseExceptionGroup):
            waiting += exception.exceptions
