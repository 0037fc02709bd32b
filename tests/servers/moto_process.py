"""moto's server, a program that takes the arguments of ``python -m moto.server``.

moto makes an RSA key with each KMS key, also with the symmetric ones that have no use for it: a
tenth of a second of a core for each test that makes a KMS key. And for each request it looks on the
disk which services it has, twice, and at all methods of the one that is asked: more than a third of
what an answer takes. These are the same each time.

Its DynamoDB answers many requests at once and locks nothing: a condition is looked at, and later
the item is written. A transaction copies the table, and puts the copy in its place if it fails,
without what others wrote meanwhile. With DynamoDB each request sees all of another or nothing of
it, so here one is answered after the other.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any

import moto.backends
import moto.core.responses
import moto.dynamodb.models
import moto.kms.models
from moto.backends import list_of_moto_modules
from moto.core.utils import method_names_from_class
from moto.kms.utils import generate_private_key
from moto.server import main


def _private_key(key_spec: str) -> Any:
    return None if key_spec == "SYMMETRIC_DEFAULT" else generate_private_key(key_spec)


def _one_at_a_time(backend: type) -> None:
    """Have a service's backends do one thing after the other, whatever they are asked at once."""
    alone = threading.RLock()

    def locked(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with alone:
                return method(*args, **kwargs)

        return call

    for name, method in list(vars(backend).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(backend, name, locked(method))


if __name__ == "__main__":
    # Nobody reads what it says of each request.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    services = frozenset(list_of_moto_modules())
    vars(moto.backends)["list_of_moto_modules"] = lambda: services
    vars(moto.core.responses)["method_names_from_class"] = functools.cache(method_names_from_class)
    vars(moto.kms.models)["generate_private_key"] = _private_key
    _one_at_a_time(moto.dynamodb.models.DynamoDBBackend)
    main()
