"""OpenTelemetry for an encryption: a span for each key fetch, and metrics. Optional.

::

    from encfields.telemetry import instrument

    stop = instrument(attach(engine, store))

Attributes name keys, never rows; values and key material are never shown. Opening or sealing a
value makes no span: it takes microseconds and is counted instead.

==================================  =====================  ======================================
name                                kind                   attributes
==================================  =====================  ======================================
``encfields.key.fetch``             span                   ``encfields.key.id``, ``.key.kind``
                                                           (active, version, beacon), ``.renewal``,
                                                           ``.kms.calls``, ``error.type``
``encfields.key.fetch.duration``    histogram, seconds     ``.key.kind``, ``.renewal``,
                                                           ``error.type``
``encfields.kms.calls``             counter                ``.renewal``
``encfields.key.hits``              observable counter
``encfields.key.misses``            observable counter
``encfields.key.stale``             observable counter
``encfields.values.sealed``         observable counter
``encfields.values.opened``         observable counter
``encfields.index.mismatches``      observable counter
==================================  =====================  ======================================

Metrics carry the key id only on request (``by_key=True``): a key for each tenant would make a
time series for each tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from encfields.bulk.expected import ENCRYPTION
from encfields.errors import ConfigurationError
from encfields.expected_arguments import FLAG, takes
from encfields.keys.cache.stats import Fetch

if TYPE_CHECKING:
    from encfields.engine import Encryption

__all__ = ["instrument"]

SCOPE = "encfields"
NANOSECONDS = 1_000_000_000

_CACHE_COUNTERS = {
    "hits": "keys answered from memory",
    "misses": "callers that waited for a key",
    "stale": "reads answered from an expired key during an outage",
}
_VALUE_COUNTERS = {"sealed": "values encrypted", "opened": "values decrypted"}


@takes(encryption=ENCRYPTION, by_key=FLAG)
def instrument(
    encryption: Encryption,
    *,
    tracer_provider: Any = None,
    meter_provider: Any = None,
    by_key: bool = False,
) -> Callable[[], None]:
    """Report to OpenTelemetry what `encryption` does from now on.

    :param encryption: what :func:`~encfields.attach` returned.
    :param tracer_provider: by default the global one.
    :param meter_provider: by default the global one.
    :param by_key: give metrics the attribute ``encfields.key.id``, which spans always have.
    :returns: a function that ends it.
    :raises ConfigurationError: ``opentelemetry-api`` is not installed.
    """
    try:
        from opentelemetry import metrics, trace
    except ImportError:
        raise ConfigurationError(
            "telemetry needs opentelemetry-api: pip install 'encfields[telemetry]'",
            reason="no-opentelemetry",
        ) from None
    telemetry = _Telemetry(
        encryption,
        trace.get_tracer(SCOPE, tracer_provider=tracer_provider),
        metrics.get_meter(SCOPE, meter_provider=meter_provider),
        by_key=by_key,
    )
    return encryption.stats.observe(telemetry.observe, telemetry.end)


class _Telemetry:
    """The instruments of one encryption."""

    def __init__(self, encryption: Encryption, tracer: Any, meter: Any, *, by_key: bool) -> None:
        self._tracer = tracer
        self._by_key = by_key
        self._stats: Any = encryption.stats
        self._duration = meter.create_histogram(
            "encfields.key.fetch.duration", unit="s", description="time to fetch and unwrap a key"
        )
        self._kms_calls = meter.create_counter(
            "encfields.kms.calls", description="requests sent to KMS, repeated ones included"
        )
        for name, what in _CACHE_COUNTERS.items():
            meter.create_observable_counter(
                f"encfields.key.{name}", [self._cache_counter(name)], description=what
            )
        for name, what in _VALUE_COUNTERS.items():
            meter.create_observable_counter(
                f"encfields.values.{name}", [self._value_counter(name)], description=what
            )
        meter.create_observable_counter(
            "encfields.index.mismatches",
            [self._value_counter("index_mismatches")],
            description="rows that were found by a blind index that does not match their value",
        )

    def end(self) -> None:
        """Stop observing; instruments cannot be removed from a meter."""
        self._stats = None

    def observe(self, fetch: Fetch) -> None:
        """Record one span and its metrics, on the fetching thread: a child of the caller's span,
        unless it ran in the background or beside an event loop."""
        attributes: dict[str, Any] = {
            "encfields.key.kind": fetch.what,
            "encfields.renewal": fetch.renewal,
        }
        if fetch.failure is not None:
            attributes["error.type"] = fetch.failure
        self._span(fetch, attributes)
        key = {"encfields.key.id": fetch.key_id} if self._by_key else {}
        self._duration.record(fetch.seconds, {**attributes, **key})
        if fetch.kms_calls:
            self._kms_calls.add(fetch.kms_calls, {"encfields.renewal": fetch.renewal, **key})

    def _span(self, fetch: Fetch, attributes: dict[str, Any]) -> None:
        from opentelemetry.trace import SpanKind, StatusCode

        span = self._tracer.start_span(
            "encfields.key.fetch",
            kind=SpanKind.CLIENT,
            start_time=fetch.started,
            attributes={
                **attributes,
                "encfields.key.id": fetch.key_id,
                "encfields.kms.calls": fetch.kms_calls,
            },
        )
        if fetch.failure is not None:
            span.set_status(StatusCode.ERROR, fetch.failure)
        span.end(end_time=fetch.started + int(fetch.seconds * NANOSECONDS))

    def _cache_counter(self, name: str) -> Callable[[Any], Iterable[Any]]:
        from opentelemetry.metrics import Observation

        def read(options: Any) -> Iterable[Any]:
            stats = self._stats
            if stats is None:
                return []
            if not self._by_key:
                return [Observation(getattr(stats.keys, name))]
            return [
                Observation(getattr(counters, name), {"encfields.key.id": key_id})
                for key_id, counters in list(stats.keys.by_key.items())
            ]

        return read

    def _value_counter(self, name: str) -> Callable[[Any], Iterable[Any]]:
        from opentelemetry.metrics import Observation

        def read(options: Any) -> Iterable[Any]:
            return [] if self._stats is None else [Observation(getattr(self._stats, name))]

        return read
