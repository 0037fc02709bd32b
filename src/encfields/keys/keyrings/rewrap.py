"""Moving wrapped keys to other wrapping keys, without touching a value.

Each key is opened, wrapped by the new keyring and, before the new wrap takes the old one's
place, opened again by every one of the new wrapping keys by itself: a region that cannot open is
found now and not on the day when the other is gone.
"""

from __future__ import annotations

import hmac
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from encfields.errors import ConfigurationError, KeyAccessError
from encfields.keys.keyrings.aws_kms import AwsKmsKeyring
from encfields.keys.keyrings.keyring import Keyring
from encfields.keys.keyrings.local import LocalKeyring
from encfields.keys.keyrings.wrapping import KeyWrapper, WrappingContext


class Rewrapper:
    """Wraps keys again.

    :param new: the keyring to move to.
    :param unwrap: opens a wrapped key with whatever keyring holds it now.
    :raises ConfigurationError: the new keyring only opens (discovery).
    """

    def __init__(self, new: Keyring, unwrap: Callable[[bytes, WrappingContext], bytes]) -> None:
        self._wrapper = KeyWrapper(new)
        if not new.can_wrap:
            raise ConfigurationError(
                "a discovery keyring opens keys and cannot wrap them; rewrap to "
                "keyrings.aws_kms(arn, ...)",
                reason="cannot-wrap",
            )
        self._keyring = new
        self._unwrap = unwrap
        self._each = [KeyWrapper(alone) for alone in _each_alone(new)]

    def is_moved(self, wrapped: bytes) -> bool:
        """Whether exactly the new wrapping keys hold this wrapped key."""
        return _held_by(wrapped, self._keyring)

    def rewrap(self, wrapped: bytes, place: WrappingContext) -> bytes:
        """The same key wrapped by the new keyring, verified.

        :param place: what it is bound to, before and after.
        :raises KeyAccessError: it does not open, before or after.
        :raises KeyUnavailableError: KMS is out of reach, throttles or refuses.
        """
        material = self._unwrap(wrapped, place)
        made = self._wrapper.wrap(material, place)
        for wrapper in self._each:
            opened = wrapper.unwrap(made, place)
            if not hmac.compare_digest(opened, material):
                raise KeyAccessError(
                    f"{wrapper.keyring!r} opened the new wrap to another key; nothing was replaced",
                    key_id=place.key_id,
                    reason="tampered",
                )
        return made


def _each_alone(keyring: Keyring) -> list[Keyring]:
    """Keyrings of one wrapping key each: any one of them must open what all wrapped."""
    if isinstance(keyring, AwsKmsKeyring):
        return [replace(keyring, arns=(arn,)) for arn in keyring.arns]
    return [keyring]


def _held_by(wrapped: bytes, keyring: Keyring) -> bool:
    key_infos = _key_infos(wrapped)
    if isinstance(keyring, AwsKmsKeyring):
        return key_infos == sorted(arn.encode() for arn in keyring.arns)
    if isinstance(keyring, LocalKeyring):
        # The raw AES keyring puts tag length and nonce after the name.
        return len(key_infos) == 1 and key_infos[0].startswith(keyring.name.encode())
    return False


def _key_infos(wrapped: bytes) -> list[bytes]:
    """What the message says of its wrapping keys; nothing of it is trusted but to skip work."""
    from aws_encryption_sdk.internal.formatting.deserialize import deserialize_header

    try:
        header: Any = deserialize_header(io.BytesIO(wrapped))[0]
    except Exception:  # damaged: opening it will say how
        return []
    return sorted(bytes(key.key_provider.key_info) for key in header.encrypted_data_keys)
