"""Flags and environment, in the Go picker's spellings, and what a mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from epp.domain import ConfigError
from epp.settings import parse, seconds


def test_the_defaults_are_the_ports_that_charts_and_gateways_expect() -> None:
    settings = parse([])

    assert (settings.grpc_port, settings.grpc_health_port, settings.metrics_port) == (9002, 9003, 9090)
    assert settings.admin_address == "127.0.0.1:9091"


@pytest.mark.parametrize(
    "flags",
    [
        ["--grpc-port=9", "--lenient", "-v=4", "--discovery-file=/x"],
        ["--grpc-port", "9", "--lenient=true", "--v", "4", "--discovery-file", "/x"],
        ["--grpc-port", "9", "--lenient", "-v", "4", "--discovery-file", "/x"],
    ],
)
def test_every_spelling_of_a_flag_is_read(flags: list[str]) -> None:
    settings = parse(flags)

    assert (settings.grpc_port, settings.lenient, settings.v) == (9, True, 4)
    assert settings.discovery_file == Path("/x")


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEHOP_GRPC_PORT", "7")
    monkeypatch.setenv("ONEHOP_POOL_NAME", "from-env")
    settings = parse(["--grpc-port=8"])

    assert (settings.grpc_port, settings.pool_name) == (8, "from-env")


@pytest.mark.parametrize(
    ("text", "expected"), [("50ms", 0.05), ("30s", 30), ("1m30s", 90), ("1h", 3600), ("2", 2), ("1.5s", 1.5)]
)
def test_durations_are_gos(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--grpc-prot=1"], "--grpc-prot=1: unknown flag; did you mean --grpc-port?"),
        (["--zzz"], "--zzz: unknown flag (onehop serve --help lists them)"),
        (["file.yaml"], "file.yaml: unexpected argument"),
        (["--grpc-port=abc"], "--grpc-port: Input should be a valid integer"),
        (["--grpc-port=70000"], "--grpc-port: Input should be less than or equal to 65535"),
        (["--drain-timeout=5x"], "'5x' is not a duration such as 500ms, 30s or 1m30s"),
        (["--refresh-metrics-interval=0s"], "--refresh-metrics-interval: Input should be greater than 0"),
        (["--unknown-model=maybe"], "--unknown-model: Input should be 'refuse' or 'forward'"),
        (["--lenient=perhaps"], "--lenient: Input should be a valid boolean"),
        (["--admin-address=9091"], "--admin-address: Value error, '9091' is not host:port"),
        (["--secure-serving"], "--secure-serving: TLS is not supported yet"),
        (["--grpc-port"], "expected one argument"),
    ],
)
def test_a_mistake_names_the_flag_and_what_is_wrong(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        parse(flags)
    assert message in str(mistake.value)


def test_a_mistake_in_the_environment_is_reported_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEHOP_METRICS_PORT", "many")

    with pytest.raises(ConfigError, match="metrics-port"):
        parse([])
