"""moto's server, a program that takes the arguments of ``python -m moto.server``.

moto makes an RSA key with each KMS key, also with the symmetric ones that have no use for it: a
tenth of a second of a core for each test that makes a KMS key. And for each request it looks on the
disk which services it has, twice, and at all methods of the one that is asked: more than a third of
what an answer takes. These are the same each time.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import moto.backends
import moto.core.responses
import moto.kms.models
from moto.backends import list_of_moto_modules
from moto.core.utils import method_names_from_class
from moto.kms.utils import generate_private_key
from moto.server import main


def _private_key(key_spec: str) -> Any:
    return None if key_spec == "SYMMETRIC_DEFAULT" else generate_private_key(key_spec)


if __name__ == "__main__":
    # Nobody reads what it says of each request.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    services = frozenset(list_of_moto_modules())
    vars(moto.backends)["list_of_moto_modules"] = lambda: services
    vars(moto.core.responses)["method_names_from_class"] = functools.cache(method_names_from_class)
    vars(moto.kms.models)["generate_private_key"] = _private_key
    main()
