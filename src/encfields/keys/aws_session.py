"""Sessions of AWS's client library: one for each client, as it wants them, but not its data.

A session is not safe to use from several threads, so each client has one of its own. What a
session first does is to parse the descriptions of AWS's services and endpoints, which are the
same for all: 80 ms and 9 MB each time. They are parsed once in a process and only read from then
on.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any


@functools.cache
def _loader() -> Any:
    """What reads the descriptions, and remembers each."""
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
        # What is wrong with the configuration is told when a key is fetched.
        with suppress(Exception):
            # With credentials of its own, lest they be looked for; it is never used.
            new_session().create_client(
                service,
                region_name="us-east-1",
                aws_access_key_id="none",
                aws_secret_access_key="none",  # noqa: S106
            )
