"""The fixtures, and pytest's hooks."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from sqlalchemy import Engine

from encfields.engine import Encryption
from encfields.keys.keyrings.local import LocalKeyring
from encfields.testing.canary import Canary, Watch
from encfields.testing.local import attach_locally, local_keyring

if TYPE_CHECKING:
    # It needs greenlet, which a synchronous project may not have.
    from sqlalchemy.ext.asyncio import AsyncEngine

_WATCH = pytest.StashKey[Watch]()
_MAY_HOLD = "encfields_canary_may_hold"


class Attach(Protocol):
    """The type of the fixture ``encfields_attach``."""

    def __call__(self, engine: Engine | AsyncEngine, **options: Any) -> Encryption:
        """Put encryption on `engine`.

        :param options: as for :func:`encfields.attach`.
        """
        ...


@pytest.fixture(scope="session")
def encfields_keyring() -> LocalKeyring:
    """A keyring of a random wrapping key, one for each test process."""
    return local_keyring()


@pytest.fixture
def encfields_attach(encfields_keyring: LocalKeyring) -> Iterator[Attach]:
    """Puts encryption with ``encfields_keyring`` on an engine, and removes it after the test.

    The key table and keys are created if missing. Attach an engine that outlives a test once
    instead, with :func:`encfields.testing.attach_locally`.
    """
    encryptions: list[Encryption] = []

    def attach(engine: Engine | AsyncEngine, **options: Any) -> Encryption:
        encryptions.append(attach_locally(engine, encfields_keyring, **options))
        return encryptions[-1]

    yield attach
    for encryption in encryptions:
        encryption.detach()


@pytest.fixture
def encfields_canary(request: pytest.FixtureRequest) -> Iterator[Canary]:
    """Fails the test if a plaintext that is registered with it shows where it must not.

    Call it with a plaintext before that is used: ``ssn = encfields_canary("123-45-6789")``.
    """
    watch = Watch(request.node, len(request.node._report_sections))
    watch.leave_out(*request.config.getini(_MAY_HOLD))
    request.node.stash[_WATCH] = watch
    with watch.during_test():
        yield Canary(watch)
    # Leaks from the clean-up of other fixtures, or from a test that was skipped.
    watch.fail_if_seen()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        _MAY_HOLD,
        "modules and packages whose frames may hold a plaintext when an exception passes them",
        type="args",
        default=[],
    )


@pytest.hookimpl(specname="pytest_runtest_call", wrapper=True, trylast=True)
def pytest_encfields_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Wraps only the test, inside pytest's own wrappers."""
    watch = item.stash.get(_WATCH, None)
    if watch is None:
        return (yield)
    with watch.during_call():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Wraps everything that pytest puts around a test: captured output is available, and the test
    can still fail."""
    error: Exception | None = None
    result: object = None
    try:
        result = yield
    except Exception as raised:
        error = raised
    except (pytest.skip.Exception, pytest.xfail.Exception) as ended:
        # Its reason is reported. The end of the fixture reports the finding.
        if (seen_by := item.stash.get(_WATCH, None)) is not None:
            seen_by.see("the reason why the test ended", ended)
        raise
    watch = item.stash.get(_WATCH, None)
    if watch is not None:
        watch.see_sections(item._report_sections)
        recorded = _recorded(item)
        for ending in [error] if error is not None else recorded:
            # If it was skipped, the end of the fixture reports the finding.
            if isinstance(ending, Exception):
                watch.note_on(ending)
        if error is None and not recorded:
            watch.fail_if_seen()
    if error is not None:
        raise error
    return result


def _recorded(item: pytest.Item) -> list[BaseException]:
    """The exception that ended a ``unittest.TestCase``'s test. pytest does not raise it, but keeps
    it with the test, and reports it instead of what is raised."""
    return [found.value for found in getattr(item, "_excinfo", None) or ()]
