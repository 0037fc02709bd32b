"""What moto cannot show: keys of several regions, and keys that are disabled or deleted.

``make test-localstack`` runs this on LocalStack's KMS, with the other tests of KMS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from sqlalchemy import Engine, Integer, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from encfields import EncryptedType, SqlKeyStore, attach, keyrings
from encfields.errors import KeyAccessError, KeyUnavailableError
from encfields.keys.store import KeyStore
from tests.servers import localstack
from tests.servers.backends import Backend
from tests.servers.kms_proxy import KmsProxy
from tests.servers.moto import Kms

pytestmark = pytest.mark.skipif(
    localstack.python() is None, reason="needs LocalStack's KMS: make test-localstack"
)
HOME, AWAY = "eu-west-1", "us-east-1"


class Base(DeclarativeBase):
    pass


class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String(50)))


@pytest.fixture
def arn(kms: Kms) -> str:
    return kms.create_key(HOME, multi_region=True)


@pytest.fixture
def replica(kms: Kms, arn: str) -> str:
    return kms.replicate_key(arn, AWAY)


@pytest.fixture
def engine(sqlite: Backend) -> Engine:
    engine = sqlite.create_engine()
    Base.metadata.create_all(engine)
    return engine


def write(engine: Engine, store: KeyStore, id_: int) -> None:
    attach(engine, store, create=True)
    with Session(engine) as session:
        session.add(Patient(id=id_, ssn=f"ssn {id_}"))
        session.commit()


def read(sqlite: Backend, store: KeyStore) -> list[str]:
    """What a process reads that has fetched no key yet."""
    engine = sqlite.create_engine()
    attach(engine, store)
    with Session(engine) as session:
        return list(session.scalars(select(Patient.ssn).order_by(Patient.id)))


def regions(proxy: KmsProxy) -> set[str]:
    """Those that were asked."""
    return {call.authorization.split("/")[2] for call in proxy.calls}


def clients(kms: Kms, proxy: KmsProxy, proxied: str) -> Callable[[str], Any]:
    """A client factory that reaches one region through the proxy, and the others past it."""

    def client(region: str) -> Any:
        url = proxy.url if region == proxied else kms.url
        config = boto3.session.Config(retries={"total_max_attempts": 1})
        return boto3.client("kms", region_name=region, endpoint_url=url, config=config)

    return client


def test_a_value_written_in_one_region_is_read_in_another_that_calls_only_its_replica(
    sqlite: Backend, engine: Engine, kms_proxy: KmsProxy, arn: str, replica: str
) -> None:
    write(engine, SqlKeyStore(keyrings.aws_kms_mrk(arn)), 1)
    kms_proxy.reset()
    assert read(sqlite, SqlKeyStore(keyrings.aws_kms_mrk(replica))) == ["ssn 1"]
    assert regions(kms_proxy) == {AWAY}


def test_a_key_made_or_rotated_under_the_replica_opens_under_the_primary(
    sqlite: Backend, engine: Engine, arn: str, replica: str
) -> None:
    write(engine, SqlKeyStore(keyrings.aws_kms_mrk(replica)), 1)
    SqlKeyStore(keyrings.aws_kms_mrk(replica), engine=sqlite.create_engine()).rotate("default")
    again = sqlite.create_engine()
    write(again, SqlKeyStore(keyrings.aws_kms_mrk(replica)), 2)
    assert read(sqlite, SqlKeyStore(keyrings.aws_kms_mrk(arn))) == ["ssn 1", "ssn 2"]


def test_a_replica_opens_while_the_home_region_is_down(
    sqlite: Backend, engine: Engine, kms: Kms, kms_proxy: KmsProxy, arn: str, replica: str
) -> None:
    write(engine, SqlKeyStore(keyrings.aws_kms_mrk(arn)), 1)
    kms_proxy.fail("refuse")
    factory = clients(kms, kms_proxy, HOME)
    with pytest.raises(KeyUnavailableError) as caught:
        read(sqlite, SqlKeyStore(keyrings.aws_kms_mrk(arn, client_factory=factory)))
    assert caught.value.reason == "unreachable"
    both = keyrings.aws_kms_mrk(arn, replica, client_factory=factory)
    assert read(sqlite, SqlKeyStore(both)) == ["ssn 1"]


def test_discovery_opens_what_a_multi_region_key_wrapped_where_there_is_a_replica_of_it(
    sqlite: Backend, engine: Engine, kms_proxy: KmsProxy, arn: str, replica: str
) -> None:
    write(engine, SqlKeyStore(keyrings.aws_kms_mrk(arn)), 1)
    account = arn.split(":")[4]
    for region in (HOME, AWAY):
        kms_proxy.reset()
        discovering = keyrings.aws_kms_discovery(account, regions=region)
        assert read(sqlite, SqlKeyStore(discovering)) == ["ssn 1"]
        assert regions(kms_proxy) == {region}
    with pytest.raises((KeyAccessError, KeyUnavailableError)):
        read(sqlite, SqlKeyStore(keyrings.aws_kms_discovery(account, regions="eu-central-1")))


def test_rewrapping_to_a_multi_region_key_serves_both_regions_and_the_old_key_no_more(
    sqlite: Backend, engine: Engine, kms: Kms, arn: str, replica: str
) -> None:
    single = keyrings.aws_kms(kms.create_key(HOME))
    write(engine, SqlKeyStore(single), 1)
    store = SqlKeyStore(single, engine=sqlite.create_engine())
    assert store.rewrap(keyrings.aws_kms_mrk(arn)).moved > 0
    for one in (arn, replica):
        assert read(sqlite, SqlKeyStore(keyrings.aws_kms_mrk(one))) == ["ssn 1"]
    with pytest.raises(KeyAccessError):
        read(sqlite, SqlKeyStore(single))


def test_a_key_of_another_region_with_the_same_context_opens_nothing(
    sqlite: Backend, engine: Engine, kms: Kms, arn: str
) -> None:
    write(engine, SqlKeyStore(keyrings.aws_kms_mrk(arn)), 1)
    stranger = kms.create_key(AWAY, multi_region=True)
    with pytest.raises(KeyAccessError):
        read(sqlite, SqlKeyStore(keyrings.aws_kms_mrk(stranger)))


def test_a_disabled_key_is_reported_as_such_and_opens_again_once_it_is_enabled(
    sqlite: Backend, engine: Engine, kms: Kms
) -> None:
    single = kms.create_key()
    store = SqlKeyStore(keyrings.aws_kms(single))
    write(engine, store, 1)
    kms.client().disable_key(KeyId=single)
    with pytest.raises(KeyUnavailableError) as caught:
        read(sqlite, SqlKeyStore(keyrings.aws_kms(single)))
    assert caught.value.reason == "disabled"
    kms.client().enable_key(KeyId=single)
    assert read(sqlite, SqlKeyStore(keyrings.aws_kms(single))) == ["ssn 1"]


def test_a_key_that_waits_for_its_deletion_is_told_as_disabled(
    sqlite: Backend, engine: Engine, kms: Kms
) -> None:
    single = kms.create_key()
    write(engine, SqlKeyStore(keyrings.aws_kms(single)), 1)
    kms.client().schedule_key_deletion(KeyId=single, PendingWindowInDays=7)
    with pytest.raises(KeyUnavailableError, match="pending deletion") as caught:
        read(sqlite, SqlKeyStore(keyrings.aws_kms(single)))
    assert caught.value.reason == "disabled"
