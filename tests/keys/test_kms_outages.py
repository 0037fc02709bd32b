"""A KMS that fails says why, quickly, and gives nothing away."""

from __future__ import annotations

import base64
import logging
import traceback
import uuid
from functools import partial

import boto3
import pytest

from encfields import keyrings
from encfields.errors import KeyAccessError, KeyStoreError, KeyUnavailableError
from encfields.keys.keyrings.wrapping import KeyWrapper, WrappingContext
from encfields.testing import assert_absent
from tests.servers.process import free_port

PLACE = WrappingContext("clinic", "default", str(uuid.uuid4()), 1, "branch-key")

REASONS = [
    ("refuse", "unreachable"),
    ("hang", "unreachable"),
    ("reset", "unreachable"),
    ("cut", "unreachable"),
    ("throttle", "throttled"),
    ("deny", "denied"),
    ("disabled", "disabled"),
    ("error", "error"),
]


def fast(*arns: str, failure: str = "") -> KeyWrapper:
    """Gives KMS up soon if it does not answer; a busy machine's may take its time."""
    patience = 0.3 if failure == "hang" else 60.0
    return KeyWrapper(keyrings.aws_kms(*arns, max_attempts=2, read_timeout=patience))


@pytest.mark.parametrize("failure, reason", REASONS)
def test_opening_tells_the_reason(kms, kms_proxy, failure, reason):
    wrapped = fast(arn := kms.create_key()).wrap_new(PLACE)
    kms_proxy.fail(failure)

    with pytest.raises(KeyUnavailableError) as caught:
        fast(arn, failure=failure).unwrap(wrapped, PLACE)

    assert caught.value.reason == reason
    assert caught.value.key_id == "default"
    assert "Decrypt" in str(caught.value)


@pytest.mark.parametrize("failure, reason", REASONS)
def test_wrapping_tells_the_reason(kms, kms_proxy, failure, reason):
    wrapper = fast(kms.create_key(), failure=failure)
    kms_proxy.fail(failure)

    with pytest.raises(KeyUnavailableError) as caught:
        wrapper.wrap_new(PLACE)

    assert caught.value.reason == reason


def test_a_recovered_kms_is_used_again_by_the_same_wrapper(kms, kms_proxy):
    wrapper = fast(kms.create_key())
    wrapped = wrapper.wrap_new(PLACE)
    for failure, _ in REASONS:
        if failure == "hang":
            continue  # would be waited for at length: tests/keys/test_deadline.py
        kms_proxy.fail(failure)
        with pytest.raises(KeyUnavailableError):
            wrapper.unwrap(wrapped, PLACE)
        kms_proxy.heal()
        assert len(wrapper.unwrap(wrapped, PLACE)) == 32


def test_a_short_disturbance_is_ridden_out_by_a_bounded_number_of_calls(kms, kms_proxy):
    wrapper = KeyWrapper(keyrings.aws_kms(kms.create_key()))
    wrapped = wrapper.wrap_new(PLACE)
    kms_proxy.reset()
    kms_proxy.fail("throttle", times=2)

    assert len(wrapper.unwrap(wrapped, PLACE)) == 32
    assert kms_proxy.counts == {"Decrypt": 3}

    kms_proxy.reset()
    kms_proxy.fail("throttle")
    with pytest.raises(KeyUnavailableError):
        wrapper.unwrap(wrapped, PLACE)
    assert kms_proxy.counts == {"Decrypt": 3}


def test_time_that_is_up_before_the_next_attempt_leaves_the_reason_that_kms_gave(
    kms, kms_proxy, monkeypatch
):
    later = "botocore.retries.standard.ExponentialBackoff.delay_amount"
    monkeypatch.setattr(later, lambda *_: 1.1)
    wrapper = KeyWrapper(keyrings.aws_kms(kms.create_key(), timeout=1))
    kms_proxy.reset()
    kms_proxy.fail("throttle")

    with pytest.raises(KeyUnavailableError, match="Rate exceeded") as caught:
        wrapper.wrap_new(PLACE)

    assert caught.value.reason == "throttled"
    assert kms_proxy.counts == {"GenerateDataKey": 1}


def test_a_refusal_is_not_repeated(kms, kms_proxy):
    wrapper = KeyWrapper(keyrings.aws_kms(kms.create_key()))
    wrapped = wrapper.wrap_new(PLACE)
    kms_proxy.reset()
    kms_proxy.fail("deny")

    with pytest.raises(KeyUnavailableError):
        wrapper.unwrap(wrapped, PLACE)

    assert kms_proxy.counts == {"Decrypt": 1}


def test_a_hanging_kms_is_given_up_within_the_configured_time(kms, kms_proxy):
    wrapped = fast(arn := kms.create_key()).wrap_new(PLACE)
    wrapper = KeyWrapper(keyrings.aws_kms(arn, read_timeout=0.2, max_attempts=1))
    kms_proxy.fail("hang")

    with pytest.raises(KeyUnavailableError):  # and not pytest's own time-out
        wrapper.unwrap(wrapped, PLACE)


def test_a_closed_port_is_named(kms):
    wrapped = fast(arn := kms.create_key()).wrap_new(PLACE)
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(KeyUnavailableError, match="out of reach") as caught:
        KeyWrapper(keyrings.aws_kms(arn, endpoint_url=url)).unwrap(wrapped, PLACE)

    assert url in str(caught.value)


def test_missing_credentials_are_a_matter_of_access(kms, monkeypatch):
    wrapped = fast(arn := kms.create_key()).wrap_new(PLACE)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)

    with pytest.raises(KeyUnavailableError, match="NoCredentials") as caught:
        fast(arn).unwrap(wrapped, PLACE)

    assert caught.value.reason == "denied"


def test_a_kms_key_that_is_gone_is_not_taken_for_tampering(kms, kms_proxy):
    gone = kms.create_key()[:-12] + "000000000000"

    with pytest.raises(KeyUnavailableError, match="gone") as caught:
        fast(gone).wrap_new(PLACE)

    assert caught.value.reason == "disabled"


def test_a_keyring_that_cannot_be_built_is_an_error_of_its_own(kms):
    wrapped = fast(arn := kms.create_key()).wrap_new(PLACE)

    with pytest.raises(KeyUnavailableError, match="ValueError") as caught:
        KeyWrapper(keyrings.aws_kms(arn, endpoint_url="no url")).unwrap(wrapped, PLACE)

    assert caught.value.reason == "error"


def test_when_all_keys_fail_what_a_retry_may_cure_is_told_first(kms, kms_proxy):
    """Not "denied", on which a caller would give up."""
    down, refusing = kms.create_key("eu-west-1"), kms.create_key("eu-central-1")
    wrapped = KeyWrapper(keyrings.aws_kms(down, refusing)).wrap_new(PLACE)
    closed = f"http://127.0.0.1:{free_port()}"

    def client(region):
        url = closed if region == "eu-west-1" else kms_proxy.url
        return boto3.client("kms", region_name=region, endpoint_url=url)

    kms_proxy.fail("deny")
    with pytest.raises(KeyUnavailableError) as caught:
        KeyWrapper(keyrings.aws_kms(down, refusing, client_factory=client)).unwrap(wrapped, PLACE)

    assert caught.value.reason == "unreachable"
    assert "AccessDeniedException" in str(caught.value)


def test_no_failure_shows_a_key_or_keeps_the_librarys_exception(kms, kms_proxy):
    arns = kms.create_key(), kms.create_key()
    wrapper = fast(*arns)
    wrapped = wrapper.wrap_new(PLACE)
    material = wrapper.unwrap(wrapped, PLACE)
    errors: list[KeyStoreError] = []
    for failure, _ in REASONS:
        kms_proxy.fail(failure)
        failing = fast(*arns, failure=failure)
        for call in (partial(failing.unwrap, wrapped, PLACE), partial(failing.wrap_new, PLACE)):
            with pytest.raises(KeyUnavailableError) as caught:
                call()
            errors.append(caught.value)
    kms_proxy.heal()
    altered = bytearray(wrapped)
    altered[-1] ^= 1
    with pytest.raises(KeyAccessError, match="altered") as broken:
        wrapper.unwrap(bytes(altered), PLACE)
    errors.append(broken.value)

    for error in errors:
        assert error.__cause__ is None
        assert error.__context__ is None
        assert_absent(material, error, "".join(traceback.format_exception(error)))


def test_no_log_shows_a_data_key_at_debug(kms, caplog):
    """botocore logs the bodies of requests and answers, which hold plaintext data keys."""
    caplog.set_level(logging.DEBUG)
    arns = kms.create_key(), kms.create_key()
    seen: list[str] = []

    def client(region):
        made = boto3.client("kms", region_name=region, endpoint_url=kms.url)
        made.meta.events.register(
            "after-call.kms",
            lambda parsed, **_: seen.append(
                base64.b64encode(parsed.get("Plaintext", b"")).decode()
            ),
        )
        return made

    wrapper = KeyWrapper(keyrings.aws_kms(*arns, client_factory=client))
    wrapped = wrapper.wrap_new(PLACE)
    material = wrapper.unwrap(wrapped, PLACE)

    data_keys = {text for text in seen if text}
    assert len(data_keys) == 1
    assert caplog.records
    for data_key in data_keys:
        assert_absent(
            base64.b64decode(data_key), caplog.text, [r.getMessage() for r in caplog.records]
        )
    assert_absent(material, caplog.text)


def test_a_failed_opening_logs_no_traceback_of_the_library(kms, kms_proxy, caplog):
    wrapper = fast(kms.create_key())
    wrapped = wrapper.wrap_new(PLACE)
    kms_proxy.fail("deny")

    with pytest.raises(KeyUnavailableError):
        wrapper.unwrap(wrapped, PLACE)

    told = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [one.name for one in told] == ["encfields.keys"]
    assert told[0].exc_info is None


def test_the_applications_own_use_of_the_library_keeps_its_log(kms, kms_proxy, caplog):
    """Only what happens inside our own calls is kept quiet."""
    wrapper = fast(kms.create_key())
    wrapper.wrap_new(PLACE)

    logging.getLogger("aws_encryption_sdk.streaming_client").error("of the application")

    assert "of the application" in caplog.text
