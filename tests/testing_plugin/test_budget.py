"""``kms_calls`` counts what KMS is asked, and holds a test to a budget."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from sqlalchemy import create_engine

from encfields import SqlKeyStore, attach, keyrings
from encfields.testing import kms_calls, local_store
from tests.servers.backends import Backend


def test_it_counts_what_kms_receives_repeated_attempts_included(kms, kms_proxy, sqlite: Backend):
    keyring = keyrings.aws_kms(kms.create_key(), kms.create_key("eu-central-1"))
    kms_proxy.fail("throttle", actions={"Encrypt"}, times=1)
    with kms_calls() as calls:
        encryption = attach(sqlite.create_engine(), SqlKeyStore(keyring), create=True)
        message = encryption.seal(b"a value", {"file": "a"}, key="default")
    assert calls.counts == kms_proxy.counts
    assert calls.counts["Encrypt"] > calls.counts["GenerateDataKey"]
    assert {one.key_id for one in calls.requests} == {"default"}
    assert {one.wrapping_key for one in calls.requests} == set(keyring.arns)
    with kms_calls(max=0):
        assert encryption.open(message, {"file": "a"}) == b"a value"


def test_a_local_keyring_counts_as_kms_would(kms, tmp_path):
    counted: list[Counter[str]] = []
    for store in (SqlKeyStore(keyrings.aws_kms(kms.create_key())), local_store()):
        with kms_calls() as calls:
            attach(create_engine(f"sqlite:///{tmp_path}/{len(counted)}"), store, create=True)
        counted.append(calls.counts)
    assert counted[0] == counted[1]
    assert counted[0]["GenerateDataKey"] > 0


def test_more_calls_than_allowed_fail_and_are_told(sqlite: Backend):
    with pytest.raises(pytest.fail.Exception) as caught, kms_calls(max=1):
        encryption = attach(sqlite.create_engine(), local_store(), create=True)
    told = str(caught.value)
    assert "KMS calls, where 1 are allowed" in told
    assert "GenerateDataKey by local-" in told
    assert "of key 'default'" in told
    encryption.detach()


def test_calls_of_other_threads_count(sqlite: Backend):
    store = local_store()
    engine = sqlite.create_engine()
    attach(engine, store, create=True)
    with kms_calls() as calls:
        thread = threading.Thread(target=store.active, args=("default",))
        thread.start()
        thread.join()
    assert calls.counts == {"Decrypt": 1}


def test_what_fails_in_the_block_is_told_first():
    with pytest.raises(KeyError), kms_calls(max=-1):
        raise KeyError("first")


def test_budgets_nest_and_end_with_their_block(sqlite: Backend):
    store = local_store()
    attach(sqlite.create_engine(), store, create=True)
    with kms_calls() as outer:
        with kms_calls(max=1) as inner:
            store.active("default")
        store.active("default")
    store.active("default")
    assert (len(inner), len(outer)) == (1, 2)
