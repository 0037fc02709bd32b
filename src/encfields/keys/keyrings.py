"""Descriptions of keyrings; the Material Providers Library's own objects are built from them.

A description is immutable, opens no connection and imports neither boto3 nor the Material
Providers Library (half a second). :mod:`encfields.keys.wrapping` calls :meth:`Keyring.build`
once per thread and process, because AWS forbids sharing a KMS keyring between threads and a
forked boto3 client mixes up the requests of two processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, NoReturn, Protocol

from encfields.errors import ConfigurationError
from encfields.keys.aws_session import new_session
from encfields.keys.kms_calls import watch
from encfields.keys.local_key import fingerprint, generate_local_key, read_local_key

__all__ = [
    "AwsKmsKeyring",
    "ClientOptions",
    "DiscoveryKeyring",
    "Keyring",
    "LocalKeyring",
    "aws_kms",
    "aws_kms_discovery",
    "aws_kms_mrk",
    "generate_local_key",
    "local",
]

ClientFactory = Callable[[str], Any]
"""Given an AWS region, makes a new boto3 KMS client for it."""

LOCAL_NAMESPACE = "encfields"
"""Key namespace of the raw AES keyring. Part of every locally wrapped key; may never change."""

_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+", re.ASCII)


class Keyring(Protocol):
    """A description of the wrapping keys."""

    @property
    def can_wrap(self) -> bool:
        """Whether new keys can be wrapped with it, or wrapped ones only be opened."""
        ...

    def build(self) -> Any:
        """A new keyring of the Material Providers Library, for the calling thread alone."""
        ...


class LocalKeyring:
    """One AES-256 wrapping key held by the application. Its ``repr`` shows a fingerprint only."""

    __slots__ = ("_key", "name")

    can_wrap = True

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.name = fingerprint(key)

    def __repr__(self) -> str:
        return f"<LocalKeyring {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a local keyring holds a wrapping key and is never pickled")

    def build(self) -> Any:
        models = _models()
        return _providers().create_raw_aes_keyring(
            models.CreateRawAesKeyringInput(
                key_namespace=LOCAL_NAMESPACE,
                key_name=self.name,
                wrapping_key=self._key,
                wrapping_alg=models.AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
            )
        )


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How an AWS service is reached: KMS, and DynamoDB for the key store there.

    :param client_factory: makes a new boto3 client for a region, called once per thread,
        process and region; the other options are then its own affair, `timeout` excepted.
    :param endpoint_url: another endpoint than AWS's, for instance of a VPC or a test server.
    :param profile_name: profile of the shared AWS configuration.
    :param connect_timeout: seconds.
    :param read_timeout: seconds.
    :param max_attempts: calls in all, the first included, in botocore's "standard" retry mode
        (exponential back-off with jitter).
    :param timeout: seconds for one request to one key in all, its repeated attempts included,
        after which it is broken off: even if the answer keeps trickling in.
    """

    client_factory: ClientFactory | None = None
    endpoint_url: str | None = None
    profile_name: str | None = None
    connect_timeout: float = 2.0
    read_timeout: float = 5.0
    max_attempts: int = 3
    timeout: float = 10.0

    def client(self, region: str, service: str = "kms") -> Any:
        """A new boto3 client of `service`."""
        if self.client_factory is not None:
            return watch(self.client_factory(region), self.timeout)
        from botocore.config import Config

        config = Config(
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            retries={"mode": "standard", "total_max_attempts": self.max_attempts},
            user_agent_extra="encfields",
        )
        return watch(
            new_session(self.profile_name).create_client(
                service, region_name=region, endpoint_url=self.endpoint_url, config=config
            ),
            self.timeout,
        )


@dataclass(frozen=True, slots=True)
class AwsKmsKeyring:
    """One or several KMS keys that all wrap the same key; any one of them opens it.

    :param arns: key ARNs; the first generates, the others are its children.
    :param multi_region: open with the local replica of a multi-Region key.
    """

    arns: tuple[str, ...]
    options: ClientOptions
    multi_region: bool = False

    can_wrap = True
    services = ("kms",)

    def build(self) -> Any:
        generator, *children = [self._build_one(arn) for arn in self.arns]
        if not children:
            return generator
        return _multi(generator, children)

    def _build_one(self, arn: str) -> Any:
        client = self.options.client(arn.split(":")[3])
        models = _models()
        if self.multi_region:
            return _providers().create_aws_kms_mrk_keyring(
                models.CreateAwsKmsMrkKeyringInput(kms_key_id=arn, kms_client=client)
            )
        return _providers().create_aws_kms_keyring(
            models.CreateAwsKmsKeyringInput(kms_key_id=arn, kms_client=client)
        )


@dataclass(frozen=True, slots=True)
class DiscoveryKeyring:
    """Opens what any KMS key of the given accounts and regions wrapped. It wraps nothing."""

    account_ids: tuple[str, ...]
    partition: str
    regions: tuple[str, ...]
    options: ClientOptions

    can_wrap = False
    services = ("kms",)

    def build(self) -> Any:
        children = [self._build_one(region) for region in self.regions]
        return children[0] if len(children) == 1 else _multi(None, children)

    def _build_one(self, region: str) -> Any:
        models = _models()
        # The "mrk" kind asks about keys of its own region alone; the plain kind asks each region
        # about the keys of every other.
        return _providers().create_aws_kms_mrk_discovery_keyring(
            models.CreateAwsKmsMrkDiscoveryKeyringInput(
                kms_client=self.options.client(region),
                region=region,
                discovery_filter=models.DiscoveryFilter(
                    account_ids=list(self.account_ids), partition=self.partition
                ),
            )
        )


def local(key: bytes | str | PathLike[str]) -> LocalKeyring:
    """A wrapping key held by the application itself, for development and tests.

    Whoever reads the key and the database reads everything; production wants :func:`aws_kms`.

    :param key: 32 secret bytes, or the path of a file that holds them raw, in hexadecimal or in
        base64. :func:`generate_local_key` writes such a file.
    :raises ConfigurationError: it is not 32 bytes, or the file cannot be read.
    """
    return LocalKeyring(read_local_key(key))


def aws_kms(
    arn: str,
    *more_arns: str,
    client_factory: ClientFactory | None = None,
    endpoint_url: str | None = None,
    profile_name: str | None = None,
    connect_timeout: float = 2.0,
    read_timeout: float = 5.0,
    max_attempts: int = 3,
    timeout: float = 10.0,
) -> AwsKmsKeyring:
    """One or several AWS KMS keys, any one of which opens what they wrapped together.

    Wrapping calls ``kms:GenerateDataKey`` on the first and ``kms:Encrypt`` on the others, and
    fails if one of them fails. Opening calls ``kms:Decrypt`` on one after the other until one
    answers.

    :param arn: full key ARN, ``arn:aws:kms:eu-west-1:111122223333:key/...``.
    :param more_arns: further key ARNs, best in other regions.
    :param client_factory: makes a new boto3 KMS client for a region.
    :param endpoint_url: another endpoint than AWS's.
    :param profile_name: profile of the shared AWS configuration.
    :param connect_timeout: seconds.
    :param read_timeout: seconds.
    :param max_attempts: calls in all, the first included.
    :param timeout: seconds for one request to one key in all, repeated attempts included; then
        the next key is tried, even if an answer keeps trickling in.
    :raises ConfigurationError: something is not the full ARN of a key.
    """
    options = ClientOptions(
        client_factory,
        endpoint_url,
        profile_name,
        connect_timeout,
        read_timeout,
        max_attempts,
        timeout,
    )
    return AwsKmsKeyring(tuple(_key_arn(one) for one in (arn, *more_arns)), options)


def aws_kms_mrk(
    arn: str,
    *more_arns: str,
    client_factory: ClientFactory | None = None,
    endpoint_url: str | None = None,
    profile_name: str | None = None,
    connect_timeout: float = 2.0,
    read_timeout: float = 5.0,
    max_attempts: int = 3,
    timeout: float = 10.0,
) -> AwsKmsKeyring:
    """Like :func:`aws_kms`, for multi-Region keys: a replica opens what its siblings wrapped.

    Give the ARN of the replica in the region the application runs in.

    :raises ConfigurationError: something is not the full ARN of a key.
    """
    options = ClientOptions(
        client_factory,
        endpoint_url,
        profile_name,
        connect_timeout,
        read_timeout,
        max_attempts,
        timeout,
    )
    arns = tuple(_key_arn(one) for one in (arn, *more_arns))
    return AwsKmsKeyring(arns, options, multi_region=True)


def aws_kms_discovery(
    account_ids: str | Iterable[str],
    *,
    regions: str | Sequence[str],
    partition: str = "aws",
    client_factory: ClientFactory | None = None,
    endpoint_url: str | None = None,
    profile_name: str | None = None,
    connect_timeout: float = 2.0,
    read_timeout: float = 5.0,
    max_attempts: int = 3,
    timeout: float = 10.0,
) -> DiscoveryKeyring:
    """Opens keys wrapped by any KMS key of some accounts, for readers that know no ARN.

    It wraps nothing: creating and rotating keys is refused.

    :param account_ids: the only AWS accounts whose keys are used.
    :param regions: AWS regions in which to ask.
    :param partition: ``"aws"``, ``"aws-cn"`` or ``"aws-us-gov"``.
    :raises ConfigurationError: an account or region is malformed, or none is given.
    """
    accounts = (account_ids,) if isinstance(account_ids, str) else tuple(account_ids)
    places = (regions,) if isinstance(regions, str) else tuple(regions)
    _check_all(accounts, _ACCOUNT, "AWS account id of 12 digits")
    _check_all(places, _REGION, "AWS region such as 'eu-west-1'")
    options = ClientOptions(
        client_factory,
        endpoint_url,
        profile_name,
        connect_timeout,
        read_timeout,
        max_attempts,
        timeout,
    )
    return DiscoveryKeyring(accounts, partition, places, options)


def _key_arn(arn: str) -> str:
    if _KEY_ARN.fullmatch(str(arn)):
        return arn
    raise ConfigurationError(
        f"{arn!r} is not the full ARN of a KMS key (arn:aws:kms:REGION:ACCOUNT:key/ID). With a "
        "bare key id or an alias the AWS library wraps keys that it then cannot open, because "
        "it compares the id with the ARN that KMS recorded (aws-cryptographic-material-"
        "providers-library issue 1234). `aws kms describe-key` shows the ARN.",
        reason="not-an-arn",
    )


def _check_all(values: tuple[str, ...], pattern: re.Pattern[str], meaning: str) -> None:
    if not values:
        raise ConfigurationError(f"at least one {meaning} is needed", reason="discovery-filter")
    for value in values:
        if not pattern.fullmatch(str(value)):
            raise ConfigurationError(f"{value!r} is not an {meaning}", reason="discovery-filter")


def _multi(generator: Any, children: list[Any]) -> Any:
    return _providers().create_multi_keyring(
        _models().CreateMultiKeyringInput(generator=generator, child_keyrings=children)
    )


def _models() -> Any:
    from aws_cryptographic_material_providers.mpl import (
        models,
    )

    return models


def _providers() -> Any:
    from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
    from aws_cryptographic_material_providers.mpl.config import (
        MaterialProvidersConfig,
    )

    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
