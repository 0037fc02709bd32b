"""What OpenTelemetry's own SDK gets to see of an encryption."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from encfields import Encryption, SqlKeyStore, attach, keyrings
from encfields.engine import engine_encryption
from encfields.errors import KeyUnavailableError
from encfields.telemetry import instrument
from encfields.testing import assert_absent
from tests.servers.backends import Backend


class Seen:
    """Everything that was exported."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider(metric_readers=[self._reader])

    def metrics(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def seen():
    made = Seen()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


@pytest.fixture
def encryption(kms, kms_proxy, sqlite: Backend):
    store = SqlKeyStore(keyrings.aws_kms(kms.create_key(), max_attempts=1))
    made = attach(sqlite.create_engine(), store)
    made.keys.create_table()
    made.keys.create("default")
    yield made
    made.detach()


def watch(encryption: Encryption, seen: Seen, **options: Any):
    return instrument(
        encryption, tracer_provider=seen.tracers, meter_provider=seen.meters, **options
    )


def test_a_fetch_is_a_span_within_the_callers(encryption, seen):
    watch(encryption, seen)
    with seen.tracers.get_tracer("application").start_as_current_span("request") as request:
        message = encryption.seal(b"x", {"a": "b"})
        encryption.open(message, {"a": "b"})

    fetch, _ = seen.spans.get_finished_spans()
    assert fetch.name == "encfields.key.fetch"
    assert fetch.parent.span_id == request.get_span_context().span_id
    assert dict(fetch.attributes) == {
        "encfields.key.id": "default",
        "encfields.key.kind": "active",
        "encfields.renewal": False,
        "encfields.kms.calls": 1,
    }
    assert 0 < fetch.end_time - fetch.start_time < 10**10


def test_a_failure_is_told_by_its_reason(encryption, seen, kms_proxy):
    watch(encryption, seen)
    kms_proxy.fail("deny")
    with pytest.raises(KeyUnavailableError):
        encryption.seal(b"x", {})

    (fetch,) = seen.spans.get_finished_spans()
    assert not fetch.status.is_ok
    assert fetch.attributes["error.type"] == "denied"
    (point,) = seen.metrics()["encfields.key.fetch.duration"]
    assert point.attributes["error.type"] == "denied"


def test_what_is_counted(encryption, seen):
    watch(encryption, seen)
    for _ in range(3):
        encryption.open(encryption.seal(b"x", {}), {})

    metrics = seen.metrics()
    values = {
        name: points[0].value for name, points in metrics.items() if hasattr(points[0], "value")
    }
    assert values == {
        "encfields.kms.calls": 1,
        "encfields.key.hits": 5,
        "encfields.key.misses": 1,
        "encfields.key.stale": 0,
        "encfields.values.sealed": 3,
        "encfields.values.opened": 3,
        "encfields.index.mismatches": 0,
    }
    (duration,) = metrics["encfields.key.fetch.duration"]
    assert duration.count == 1
    assert "encfields.key.id" not in duration.attributes


def test_metrics_by_key_on_request(encryption, seen):
    encryption.keys.create("tenant/1")
    watch(encryption, seen, by_key=True)
    encryption.seal(b"x", {})
    encryption.seal(b"x", {}, key="tenant/1")

    points = seen.metrics()["encfields.key.misses"]
    assert {p.attributes["encfields.key.id"]: p.value for p in points} == {
        "default": 1,
        "tenant/1": 1,
    }


def test_it_can_be_ended(encryption, seen):
    stop = watch(encryption, seen)
    stop()
    stop()
    encryption.seal(b"x", {})

    assert seen.spans.get_finished_spans() == ()
    assert seen.metrics() == {}


def test_no_value_no_context_and_no_key_is_told(encryption, seen):
    watch(encryption, seen, by_key=True)
    encryption.open(encryption.seal(b"canary-value", {"a": "canary-row"}), {"a": "canary-row"})
    material = engine_encryption(encryption).active_key("default").material

    told = [span.to_json() for span in seen.spans.get_finished_spans()]
    told.append(repr(seen.metrics()))
    for secret in ("canary-value", "canary-row", material):
        assert_absent(secret, *told)


def test_encfields_does_not_import_it():
    script = "import sys, encfields, encfields.telemetry; print('opentelemetry' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout.strip() == "False"
