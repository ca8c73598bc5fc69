"""The Go picker's flags: each is a setting, or accepted where it asks for what we do, or refused with what to do."""

from __future__ import annotations

import shlex

import pytest

from epp import picker_flags
from epp.domain import ConfigError
from epp.settings import Settings, parse

# Every flag of the Go picker (pkg/epp/server/options.go and its logging options).
GO_PICKER = [
    "grpc-port", "grpc-health-port", "metrics-port", "health-checking", "pool-name", "pool-namespace", "pool-group",
    "endpoint-selector", "endpoint-target-ports", "ha-enable-leader-election", "drain-timeout",
    "disable-endpoint-subset-filter", "emit-endpoint-scores", "refresh-metrics-interval",
    "refresh-prometheus-metrics-interval", "metrics-staleness-threshold", "grpc-max-recv-msg-size",
    "grpc-max-send-msg-size", "config-file", "config-text", "allow-experimental-plugins", "secure-serving",
    "cert-path", "enable-cert-reload", "tls-min-version", "tls-cipher-suites", "metrics-endpoint-auth",
    "metrics-client-ca-file", "metrics-cert-dir", "enable-pprof", "enable-grpc-stream-metrics", "tracing", "v",
    "zap-devel", "zap-encoder", "zap-log-level", "zap-stacktrace-level", "zap-time-encoding", "kubeconfig",
    "total-queued-requests-metric", "total-running-requests-metric", "kv-cache-usage-percentage-metric",
    "lora-info-metric", "cache-info-metric",
]  # fmt: skip


def test_every_flag_of_the_go_picker_is_known_once() -> None:
    settings = {name.replace("_", "-") for name in Settings.model_fields}
    others = [flag.name for flag in picker_flags.FLAGS]

    assert set(GO_PICKER) <= settings | set(others)
    assert len(set(others)) == len(others)
    assert not settings & set(others)
    assert set(others) <= set(GO_PICKER)


@pytest.mark.parametrize(
    "line",
    [
        # as the llm-d charts, kserve, the conformance suite and the lightweight picker start it
        "--pool-name p --pool-namespace ns --pool-group inference.networking.k8s.io --zap-encoder json "
        "--grpc-health-port 9003 --tracing=false",
        "--pool-name=p --pool-namespace=default --v 4 --zap-encoder json --grpc-port 9002 --secure-serving=false "
        "--metrics-endpoint-auth=false --ha-enable-leader-election=false",
        "-v=5 --health-checking --enable-pprof=false --enable-grpc-stream-metrics=false --emit-endpoint-scores=false",
        "--health-checking=false --disable-endpoint-subset-filter --allow-experimental-plugins=0",
        "--refresh-prometheus-metrics-interval=5s --metrics-staleness-threshold=2s --refresh-metrics-interval=50ms",
        "--zap-devel --zap-log-level=debug --zap-stacktrace-level=error --zap-time-encoding=rfc3339",
        "--config-file= --config-text= --kubeconfig= --endpoint-selector= --endpoint-target-ports=[] "
        "--metrics-client-ca-file= --metrics-cert-dir=",
        "--grpc-max-recv-msg-size=10Mi --grpc-max-send-msg-size 10Mi --drain-timeout=1m --cert-path=/certs "
        "--enable-cert-reload=true --tls-min-version=VersionTLS12",
    ],
)
def test_what_asks_for_what_we_do_is_accepted(line: str) -> None:
    parse(shlex.split(line))


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--metrics-endpoint-auth=true", "guard the port with a NetworkPolicy and give --metrics-endpoint-auth=false"),
        ("--metrics-client-ca-file=/ca", "/metrics is plain HTTP without authentication"),
        ("--metrics-cert-dir=/certs", "/metrics is plain HTTP without authentication"),
        ("--enable-pprof", "py-spy"),
        ("--metrics-staleness-threshold=5s", "scorers trust a metric for 2 s"),
        ("--metrics-staleness-threshold=soon", "'soon' is not a duration"),
        ("--refresh-prometheus-metrics-interval=often", "'often' is not a duration"),
        ("--zap-time-encoding=sundial", "it is epoch, millis"),
        ("--zap-stacktrace-level=never", "it is info, warn, error or panic"),
        ("--lora-info-metric=x", "found by their own names"),
        ("--total-queued-requests-metric=x", "the Go picker refuses this flag, too"),
    ],
)
def test_what_we_do_not_do_is_refused_by_name(flag: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse([flag])

    assert str(refused.value).startswith(flag.partition("=")[0] + ": ")
    assert said in str(refused.value)


def test_every_flag_that_refuses_something_says_what_to_do() -> None:
    boolean = {flag.name: flag for flag in picker_flags.FLAGS if flag.is_boolean and not flag.instead}

    assert boolean.keys() == {"health-checking", "zap-devel", "enable-grpc-stream-metrics"}
    assert all(flag.here for flag in picker_flags.FLAGS)


def test_a_misspelt_flag_of_the_go_picker_gets_its_name() -> None:
    with pytest.raises(ConfigError, match="did you mean --ha-enable-leader-election"):
        parse(["--ha-enable-leader-electoin=false"])


def test_help_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    text = capsys.readouterr().out

    assert ended.value.code == 0
    assert all(f"--{name} " in text for name in GO_PICKER)
