"""AWS KMS and DynamoDB: moto's server, a process of its own that boto3 reaches over HTTP."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

import boto3

from tests.servers.http_server import HttpServer
from tests.servers.process import HOST

SCRIPT = Path(__file__).with_name("moto_process.py")

REGION = "eu-west-1"
ACCOUNT = "123456789012"
"""The account of every key that is made here."""

#: No test may ever reach AWS: dummy credentials, no profile, no instance metadata, and for
#: whatever is not told of an endpoint, a port at which nothing listens.
ENVIRONMENT = {
    # moto has one account; LocalStack takes a number here for the account.
    "AWS_ACCESS_KEY_ID": ACCOUNT,
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": f"http://{HOST}:9",
}


class MotoServer(HttpServer):
    """A running moto server.

    :ivar url: endpoint URL for every AWS service it has.
    """

    name = "moto"
    health = "/moto-api/data.json"

    def _command(self) -> list[str | Path]:
        # -P: beside the script lies a module that is called as moto is.
        return [sys.executable, "-P", SCRIPT, "-H", HOST, "-p", str(self._port)]


class Kms:
    """KMS keys at an emulator, made as an administrator would make them.

    moto enforces neither key policies nor disabled keys: have ``kms_proxy`` deny or disable.

    :ivar url: endpoint URL of KMS. :ivar dynamodb_url: endpoint URL of DynamoDB.
    """

    def __init__(self, url: str, dynamodb_url: str | None = None) -> None:
        self.url = url
        self.dynamodb_url = dynamodb_url or url

    def client(self, region: str = REGION) -> Any:
        """A boto3 KMS client that talks to the server itself, past any proxy."""
        return _client(region, self.url)

    def create_key(self, region: str = REGION, *, multi_region: bool = False) -> str:
        """Make a symmetric key.

        :returns: its ARN.
        """
        answer = self.client(region).create_key(MultiRegion=multi_region)
        arn: str = answer["KeyMetadata"]["Arn"]
        return arn

    def replicate_key(self, arn: str, region: str) -> str:
        """Replicate a multi-region key.

        :returns: the replica's ARN.
        """
        home = arn.split(":")[3]
        key_id = arn.rpartition("/")[2]
        answer = self.client(home).replicate_key(KeyId=key_id, ReplicaRegion=region)
        replica: str = answer["ReplicaKeyMetadata"]["Arn"]
        return replica


@functools.cache
def _client(region: str, url: str) -> Any:
    # To make a client takes longer than what most tests ask it for.
    return boto3.client("kms", region_name=region, endpoint_url=url)
