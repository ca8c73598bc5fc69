"""The Go picker's flags that are no settings of ours: which values we can honour, and what to use instead.

Must stay true: no value is accepted that would change what the Go picker does and changes nothing here. Accepted are
the values that ask for what we do anyway, and those that only change how something looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from epp.domain import ConfigError
from epp.flag_values import boolean, seconds

STALE_AFTER_S = 2.0  # what the scorers use


@dataclass(frozen=True, slots=True)
class PickerFlag:
    """One flag.

    `honours` says whether a value asks for what we do, `here` what that is, and `instead` what to do for the rest.
    """

    name: str
    honours: Callable[[str], bool]
    here: str
    instead: str = ""
    is_boolean: bool = False

    def check(self, value: str) -> None:
        """Accept a value or raise ConfigError with the flag's name and what to do instead."""
        try:
            honoured = self.honours(value)
        except ValueError as unreadable:
            raise ConfigError(f"--{self.name}", str(unreadable)) from None
        if not honoured:
            raise ConfigError(f"--{self.name}", f"'{value}' is refused: {self.instead}")


def _yes_or_no(value: str) -> bool:
    boolean(value)
    return True


def _no(value: str) -> bool:
    return not boolean(value)


def _nothing(value: str) -> bool:
    return value == ""


def _duration(value: str) -> bool:
    seconds(value)
    return True


def _our_staleness(value: str) -> bool:
    return seconds(value) == STALE_AFTER_S


def _one_of(*words: str) -> Callable[[str], bool]:
    return lambda value: value in words


def _off(name: str, here: str, instead: str) -> PickerFlag:
    return PickerFlag(name, _no, here, instead, is_boolean=True)


def _unset(name: str, instead: str) -> PickerFlag:
    return PickerFlag(name, _nothing, "only empty, its default", instead)


_FIXED_NAMES = "the metrics of vLLM are found by their own names; the Go picker refuses this flag, too"
_OPEN_METRICS = "/metrics is plain HTTP without authentication; guard the port with a NetworkPolicy"

FLAGS = (
    PickerFlag("health-checking", _yes_or_no, "health is always served on the ext_proc port", is_boolean=True),
    PickerFlag(
        "refresh-prometheus-metrics-interval", _duration, "gauges are read when Prometheus asks, so never older than it"
    ),
    PickerFlag(
        "metrics-staleness-threshold",
        _our_staleness,
        "only 2s, which is what the scorers use",
        "scorers trust a metric for 2 s and then our own count of requests; this cannot be changed",
    ),
    _off("metrics-endpoint-auth", "only false", f"{_OPEN_METRICS} and give --metrics-endpoint-auth=false"),
    _unset("metrics-client-ca-file", _OPEN_METRICS),
    _unset("metrics-cert-dir", _OPEN_METRICS),
    _off("enable-pprof", "only false", "this is not a Go program; py-spy can look into the running process"),
    PickerFlag("enable-grpc-stream-metrics", _yes_or_no, "stream metrics are always on", is_boolean=True),
    PickerFlag(
        "zap-devel", _yes_or_no, "looks only: --zap-encoder and --zap-log-level have an effect", is_boolean=True
    ),
    PickerFlag(
        "zap-stacktrace-level",
        _one_of("info", "warn", "error", "panic"),
        "looks only: stack traces come with defects of ours",
        "it is info, warn, error or panic",
    ),
    PickerFlag(
        "zap-time-encoding",
        _one_of("epoch", "millis", "nano", "iso8601", "rfc3339", "rfc3339nano"),
        "looks only: times are RFC 3339 in UTC",
        "it is epoch, millis, nano, iso8601, rfc3339 or rfc3339nano",
    ),
    _unset("total-queued-requests-metric", _FIXED_NAMES),
    _unset("total-running-requests-metric", _FIXED_NAMES),
    _unset("kv-cache-usage-percentage-metric", _FIXED_NAMES),
    _unset("lora-info-metric", _FIXED_NAMES),
    _unset("cache-info-metric", _FIXED_NAMES),
)
