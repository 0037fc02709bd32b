"""Removes frames from errors that leave this library.

Error reporters may record the local variables of every function that an error passed through.
Inside this library those are data keys, branch keys and plaintexts. So each entry point (a "door")
removes the frames below it from the error, its causes and its contexts; the door's own frame holds
only the error.
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
    """Decorator: errors hold no frames of what the function called, nor its arguments.

    For an error from outside this library, such as one that an application's type raised, the code
    locations are kept as a note, without variables.
    """

    @wraps(function)
    def door(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            failure = error
        del args, kwargs
        # Outside the handler: the exception being handled here is the caller's, so leave it alone.
        raise without_frames(failure, sys.exc_info()[1])

    return door


def without_frames(error: BaseException, handled: BaseException | None) -> BaseException:
    """The same error without frames, also in the errors it is chained to.

    :param handled: what the caller was handling, which the error may be chained to.
    """
    if not isinstance(error, EncFieldsError) and error.__traceback__ is not None:
        places = "".join(traceback.format_tb(error.__traceback__))
        error.add_note(f"It passed through these places, whose frames are left out:\n{places}")
    for each in chained(error, handled):
        each.__traceback__ = None
    return error


def chained(error: BaseException, end: BaseException | None = None) -> Iterator[BaseException]:
    """An error and all errors chained to it, up to `end`."""
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
