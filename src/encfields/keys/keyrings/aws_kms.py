"""Keyrings of AWS KMS keys: given by ARN, multi-Region, or any of some accounts (discovery)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from encfields.errors import ConfigurationError
from encfields.keys.aws.clients import ClientArguments, ClientOptions, client_options
from encfields.keys.keyrings.keyring import Keyring, models, providers
from encfields.traces import leaves_no_trace

_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class AwsKmsKeyring(Keyring):
    """One or several KMS keys that all wrap the same key; any one of them opens it.

    :param arns: key ARNs; the first generates, the others are its children.
    :param multi_region: open with the local replica of a multi-Region key.
    """

    arns: tuple[str, ...]
    options: ClientOptions
    multi_region: bool = False

    services = ("kms",)

    def build(self) -> Any:
        generator, *children = [self._build_one(arn) for arn in self.arns]
        if not children:
            return generator
        return _multi(generator, children)

    def _build_one(self, arn: str) -> Any:
        client = self.options.client(arn.split(":")[3])
        if self.multi_region:
            return providers().create_aws_kms_mrk_keyring(
                models().CreateAwsKmsMrkKeyringInput(kms_key_id=arn, kms_client=client)
            )
        return providers().create_aws_kms_keyring(
            models().CreateAwsKmsKeyringInput(kms_key_id=arn, kms_client=client)
        )


@dataclass(frozen=True, slots=True)
class DiscoveryKeyring(Keyring):
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
        # The "mrk" kind asks about keys of its own region alone; the plain kind asks each region
        # about the keys of every other.
        return providers().create_aws_kms_mrk_discovery_keyring(
            models().CreateAwsKmsMrkDiscoveryKeyringInput(
                kms_client=self.options.client(region),
                region=region,
                discovery_filter=models().DiscoveryFilter(
                    account_ids=list(self.account_ids), partition=self.partition
                ),
            )
        )


@leaves_no_trace
def aws_kms(
    arn: str,
    *more_arns: str,
    **options: Unpack[ClientArguments],
) -> AwsKmsKeyring:
    """One or several AWS KMS keys, any one of which opens what they wrapped together.

    Wrapping calls ``kms:GenerateDataKey`` on the first and ``kms:Encrypt`` on the others, and
    fails if one of them fails. Opening calls ``kms:Decrypt`` on one after the other until one
    answers.

    :param arn: full key ARN, ``arn:aws:kms:eu-west-1:111122223333:key/...``.
    :param more_arns: further key ARNs, best in other regions.
    :param options: how KMS is reached: ``endpoint_url``, ``profile_name``, ``timeout`` and the
        others of :class:`~encfields.keys.aws.clients.ClientOptions`. After ``timeout`` the next
        key is tried.
    :raises ConfigurationError: something is not the full ARN of a key.
    """
    return AwsKmsKeyring(
        tuple(_key_arn(each_arn) for each_arn in (arn, *more_arns)), client_options(options)
    )


@leaves_no_trace
def aws_kms_mrk(
    arn: str,
    *more_arns: str,
    **options: Unpack[ClientArguments],
) -> AwsKmsKeyring:
    """Like :func:`aws_kms`, for multi-Region keys: a replica opens what its siblings wrapped.

    Give the ARN of the replica in the region the application runs in.

    :param arn: full ARN of the multi-Region key.
    :param more_arns: further keys, each of which wraps the same branch key.
    :param options: as for :func:`aws_kms`.
    :raises ConfigurationError: something is not the full ARN of a key.
    """
    arns = tuple(_key_arn(each_arn) for each_arn in (arn, *more_arns))
    return AwsKmsKeyring(arns, client_options(options), multi_region=True)


@leaves_no_trace
def aws_kms_discovery(
    account_ids: str | Iterable[str],
    *,
    regions: str | Sequence[str],
    partition: str = "aws",
    **options: Unpack[ClientArguments],
) -> DiscoveryKeyring:
    """Opens keys wrapped by any KMS key of some accounts, for readers that know no ARN.

    It wraps nothing: creating and rotating keys is refused.

    :param account_ids: the only AWS accounts whose keys are used.
    :param regions: AWS regions in which to ask.
    :param partition: ``"aws"``, ``"aws-cn"`` or ``"aws-us-gov"``.
    :param options: as for :func:`aws_kms`.
    :raises ConfigurationError: an account or region is malformed, or none is given.
    """
    accounts = (account_ids,) if isinstance(account_ids, str) else tuple(account_ids)
    places = (regions,) if isinstance(regions, str) else tuple(regions)
    _check_all(accounts, _ACCOUNT, "AWS account id of 12 digits")
    _check_all(places, _REGION, "AWS region such as 'eu-west-1'")
    return DiscoveryKeyring(accounts, partition, places, client_options(options))


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
    return providers().create_multi_keyring(
        models().CreateMultiKeyringInput(generator=generator, child_keyrings=children)
    )
