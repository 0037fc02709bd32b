"""Clients of AWS, each with a session of its own that shares parsed service descriptions.

A session is not thread-safe, so each client has its own. Parsing the descriptions of services and
endpoints takes 80 ms and 9 MB per session; they are the same for all, so they are parsed once per
process and only read afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypedDict

from encfields.errors import ConfigurationError
from encfields.keys.aws.kms_calls import watch

ClientFactory = Callable[[str], Any]
"""Returns a new boto3 KMS client for an AWS region."""


class ClientArguments(TypedDict, total=False):
    """The arguments of :class:`ClientOptions`, for functions that pass them on."""

    client_factory: ClientFactory | None
    endpoint_url: str | None
    profile_name: str | None
    connect_timeout: float
    read_timeout: float
    max_attempts: int
    timeout: float


class ClientOptions(NamedTuple):
    """How an AWS service is reached: KMS, and DynamoDB for the key store there.

    :param client_factory: returns a new boto3 client for a region; called once per thread, process
        and region. The other options except `timeout` are then ignored.
    :param endpoint_url: another endpoint than AWS's, for instance of a VPC or a test server.
    :param profile_name: profile of the shared AWS configuration.
    :param connect_timeout: seconds.
    :param read_timeout: seconds.
    :param max_attempts: total number of attempts, in botocore's "standard" retry mode (exponential
        back-off with jitter).
    :param timeout: seconds for one request to one key, including retries, after which it is aborted
        even if the answer is still trickling in.
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


def client_options(given: ClientArguments) -> ClientOptions:
    """The options of a keyring or key store.

    :raises ConfigurationError: there is no such option.
    """
    unknown = sorted(set(given) - set(ClientOptions._fields))
    if unknown:
        raise ConfigurationError(
            f"there is no option {unknown[0]}=, only {', '.join(ClientOptions._fields)}: "
            "credentials and the like come from AWS's own configuration, or from the client that "
            "client_factory= returns",
            reason="option",
        )
    return ClientOptions(**given)


@functools.cache
def _loader() -> Any:
    """Reads and caches the descriptions."""
    from botocore.loaders import create_loader

    return create_loader()


def new_session(profile_name: str | None = None) -> Any:
    """A new session of botocore, which boto3 is made of.

    :param profile_name: profile of the shared AWS configuration.
    """
    from botocore.session import Session

    session = Session(profile=profile_name)
    session.register_component("data_loader", _loader())
    return session


def preload(*services: str) -> None:
    """Import AWS's libraries and parse the descriptions of some services, so that the first
    fetch of a key does not: a second of work, with pauses of up to 0.1 s in which Python runs
    nothing else.

    It reads no credentials and opens no connection.

    :param services: ``"kms"``, ``"dynamodb"``.
    """
    import aws_cryptographic_material_providers.mpl  # noqa: F401
    import aws_encryption_sdk  # noqa: F401

    for service in services:
        # What is wrong with the configuration comes to light when a key is fetched.
        with suppress(Exception):
            # With credentials of its own, lest they be looked for; it is never used.
            new_session().create_client(
                service,
                region_name="us-east-1",
                aws_access_key_id="none",
                aws_secret_access_key="none",  # noqa: S106
            )
