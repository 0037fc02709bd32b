"""moto's server, a program that takes the arguments of ``python -m moto.server``.

moto makes an RSA key with each KMS key, also with the symmetric ones that have no use for it: a
tenth of a second of a core for each test that makes a KMS key.
"""

from __future__ import annotations

from typing import Any

import moto.kms.models
from moto.kms.utils import generate_private_key
from moto.server import main


def _private_key(key_spec: str) -> Any:
    return None if key_spec == "SYMMETRIC_DEFAULT" else generate_private_key(key_spec)


if __name__ == "__main__":
    vars(moto.kms.models)["generate_private_key"] = _private_key
    main()
