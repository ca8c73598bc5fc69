"""Flags and environment, in the Go picker's spellings, and what a mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from epp.domain import ConfigError
from epp.flag_values import is_loopback, quantity, seconds
from epp.settings import parse


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
        (["--transport=h3"], "--transport: Input should be 'grpc' or 'native'"),
        (["--transport=grpc", "--max-connection-age=1h"], "--max-connection-age: has no effect with --transport=grpc"),
        (["--transport=grpc", "--workers=2"], "--workers: more than 1 needs --transport=native"),
        (["--workers=0"], "--workers: Input should be greater than or equal to 1"),
        (["--transport=grpc", "--detect-tls"], "--detect-tls: has no effect with --transport=grpc"),
        (["--detect-tls", "--secure-serving=false"], "--detect-tls: has no effect with --secure-serving=false"),
        (["--http2-limit=pings=5"], "--http2-limit: Value error, 'pings' is none of refused_burst"),
        (["--http2-limit=pings_burst=x"], "--http2-limit: Value error, 'x' is not a number that pings_burst can be"),
        (
            ["--http2-limit=pings_burst=1.5"],
            "--http2-limit: Value error, '1.5' is not a number that pings_burst can be",
        ),
        (["--http2-limit=pings_burst=0"], "--http2-limit: pings_burst must be more than 0"),
        (["--http2-limit=streams_max=5"], "--http2-limit: Value error, 'streams_max' is none of"),
        (["--tls-min-version=VersionTLS11"], "--tls-min-version: Input should be 'VersionTLS12' or 'VersionTLS13'"),
        (["--tls-min-version=1.2"], "--tls-min-version: Input should be 'VersionTLS12' or 'VersionTLS13'"),
        (["--tls-cipher-suites=TLS_AES_128_GCM_SHA256"], "those of TLS 1.3 cannot be chosen"),
        (["--tls-names=a b"], "'a b' is neither a host name nor an IP address"),
        (["--enable-cert-reload"], "--enable-cert-reload: needs --cert-path"),
        (["--cert-path=/x", "--secure-serving=false"], "--cert-path: has no effect with --secure-serving=false"),
        (["--tls-min-version=VersionTLS13", "--secure-serving=false"], "--tls-min-version: has no effect"),
        (["--cert-path=/x", "--tls-names=a"], "--tls-names: has no effect with --cert-path"),
        (
            ["--tls-min-version=VersionTLS13", "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
            "--tls-cipher-suites: has no effect with --tls-min-version=VersionTLS13",
        ),
        (["--grpc-max-recv-msg-size=10MB"], "'10MB' is not a quantity such as 4194304, 10M or 10Mi"),
        (["--grpc-max-recv-msg-size=2Gi"], "--grpc-max-recv-msg-size: Input should be less than 2147483648"),
        (["--grpc-max-send-msg-size=0"], "--grpc-max-send-msg-size: Input should be greater than 0"),
        (["--streams-max=0"], "--streams-max: Input should be greater than 0"),
        (["--zap-encoder=xml"], "--zap-encoder: Input should be 'json' or 'console'"),
        (["--zap-log-level=loud"], "'loud' is none of debug, info, error, panic or a number from 1"),
        (["--admin-address=0.0.0.0:9091"], "--admin-address: 0.0.0.0:9091 is not loopback, so it needs a token"),
        (["--admin-address=picker:9091"], "picker:9091 is not loopback"),
        (["--pool=Llama"], "'Llama' is not [NAMESPACE/]NAME[=PORT]"),
        (["--pool=llama=0"], "'0' of 'llama=0' is not a port from 1 to 65535"),
        (["--pool=llama=9002"], "--pool: port 9002 is taken by --grpc-port"),
        (["--pool=a=1", "--pool=b=1"], "--pool: port 1 is given twice"),
        (["--semantic-port=9003"], "--semantic-port: port 9003 is taken by --grpc-health-port"),
        (["--pool-selector=app in x"], "label selector 'app in x', character 8: expected `(`"),
        (["--endpoint-selector=app=x"], "--endpoint-selector: and --endpoint-target-ports need each other"),
        (["--endpoint-target-ports=1"], "--endpoint-selector: and --endpoint-target-ports need each other"),
        (["--endpoint-target-ports=0"], "'0' is not a list of ports from 1 to 65535"),
        (["--endpoint-target-ports=1,2,3,4,5,6,7,8,9"], "must name at most 8 ports"),
        (
            ["--endpoint-selector=app=x", "--endpoint-target-ports=1", "--pool-name=p"],
            "--endpoint-selector: cannot go with --pool-name",
        ),
        (["--discovery-file=/x", "--pool=p"], "--pool: has no effect with --discovery-file"),
        (["--discovery-file=/x", "--kubeconfig=/k"], "--kubeconfig: has no effect with --discovery-file"),
        (["--decision-key-file=/k", "--pool=a"], "--decision-key-file: has no effect without --semantic-port"),
        (["--serves=phi4-mini"], "'phi4-mini' is not MODEL=LABELS"),
        (["--tenant-from=cookie"], "'cookie' is none of header, none, host, header:NAME, attribute:NAME"),
        (["--ha-enable-leader-election=maybe"], "--ha-enable-leader-election: Input should be a valid boolean"),
        (["--fallback-endpoints=9"], "--fallback-endpoints: Input should be less than or equal to 8"),
        (["--spill-share-max=2"], "--spill-share-max: Input should be less than or equal to 1"),
        (["--spill-wait=-1s"], "--spill-wait: "),
        (["--receipts-sample=-0.1"], "--receipts-sample: Input should be greater than or equal to 0"),
        (["--receipts-max=0"], "--receipts-max: Input should be greater than 0"),
        (["--grpc-port"], "expected one argument"),
    ],
)
def test_a_mistake_names_the_flag_and_what_is_wrong(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        parse(flags)
    assert message in str(mistake.value)


def test_serving_is_over_tls_unless_told_otherwise() -> None:
    assert parse([]).secure_serving
    assert parse(["--tls-names=picker.example"]).secure_serving
    assert not parse(["--secure-serving=false"]).secure_serving


def test_pools_are_named_with_namespace_and_port() -> None:
    settings = parse(["--pool=llama=9012", "--pool", "team-a/phi=9022", "--pool=gemma"])

    assert settings.pool == (("", "llama", 9012), ("team-a", "phi", 9022), ("", "gemma", None))


def test_repeated_flags_have_spaces_between_their_values_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEHOP_POOL", "llama=9012 phi")
    monkeypatch.setenv("ONEHOP_SERVES", "phi4-mini=app=phi,tier!=old")
    settings = parse([])

    assert settings.pool == (("", "llama", 9012), ("", "phi", None))
    assert settings.serves == (("phi4-mini", "app=phi,tier!=old"),)


def test_endpoints_by_label_have_ports() -> None:
    assert parse(["--endpoint-selector=app=vllm", "--endpoint-target-ports=[8000, 8001]"]).endpoint_target_ports == (
        8000,
        8001,
    )


def test_what_is_empty_by_default_in_go_may_be_given_empty() -> None:
    flags = ["--cert-path=", "--tls-min-version=", "--tls-cipher-suites=", "--grpc-max-recv-msg-size=", "--pool-name="]

    assert parse([*flags, "--grpc-max-send-msg-size", "", "--kubeconfig=", "--config-file="]) == parse([])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4194304", 4194304), ("10Mi", 10 << 20), ("10M", 10**7), ("1.5Ki", 1536), ("1Gi", 1 << 30), ("2k", 2000)],
)
def test_sizes_are_quantities_of_kubernetes(text: str, expected: int) -> None:
    assert quantity(text) == expected


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example:1", False),
    ],
)
def test_only_this_machine_is_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_an_admin_address_for_others_starts_with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    by_flag = parse(["--admin-address=0.0.0.0:9091", "--admin-token=s3cret"])
    monkeypatch.setenv("ONEHOP_ADMIN_TOKEN", "s3cret")
    by_environment = parse(["--admin-address=0.0.0.0:9091"])

    assert by_flag.admin_token == by_environment.admin_token is not None
    assert "s3cret" not in repr(by_environment)


def test_a_mistake_in_the_environment_is_reported_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEHOP_METRICS_PORT", "many")

    with pytest.raises(ConfigError, match="metrics-port"):
        parse([])


def test_bounds_of_connections_are_read_by_name_and_may_be_repeated() -> None:
    settings = parse(["--http2-limit=pings_burst=5", "--http2-limit", "keepalive_s=2.5"])

    assert settings.http2_limit == (("pings_burst", 5), ("keepalive_s", 2.5))
    assert settings.transport == "native"
