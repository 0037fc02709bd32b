"""What a keyring is to this library, and the Material Providers Library that builds one.

A keyring here is a description of wrapping keys: immutable, it opens no connection and imports
neither boto3 nor the Material Providers Library (half a second).
:mod:`encfields.keys.keyrings.wrapping` calls :meth:`Keyring.build` once per thread and process,
because AWS forbids sharing a KMS keyring between threads and a forked boto3 client mixes up the
requests of two processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class Keyring(ABC):
    """A description of the wrapping keys.

    :cvar can_wrap: whether new keys can be wrapped with it, or wrapped ones only be opened.
    :cvar services: names of the AWS services that it calls, as boto3 knows them.
    """

    __slots__ = ()

    can_wrap: ClassVar[bool] = True
    services: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def build(self) -> Any:
        """A new keyring of the Material Providers Library, for the calling thread alone."""


def models() -> Any:
    """The library's module of its operations' arguments."""
    from aws_cryptographic_material_providers.mpl import (
        models,
    )

    return models


def providers() -> Any:
    """What makes the library's keyrings."""
    from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
    from aws_cryptographic_material_providers.mpl.config import (
        MaterialProvidersConfig,
    )

    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
