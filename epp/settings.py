"""Process settings: flags over `ONEHOP_*` environment variables over defaults.

One field is one flag (`grpc_port` is `--grpc-port`), with the Go picker's spellings: `--flag=value`, `--flag value`,
booleans as `--flag` or `--flag=false`, durations as `50ms` or `1m30s`, sizes as `10Mi`. The Go picker's other flags
are in `picker_flags.py`. An empty text is the same as leaving a flag out.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from epp import http2_limits, picker_flags
from epp.datastore import selectors
from epp.datastore.membership import Naming
from epp.domain import ConfigError
from epp.flag_values import (
    PoolPort,
    host_and_port,
    is_loopback,
    names,
    object_name,
    pool_port,
    ports,
    quantity,
    seconds,
)
from epp.protocol.identity import source

TLS12_SUITES = frozenset(
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
)


def tls_suites(value: str) -> str:
    """Names of TLS 1.2 cipher suites separated by commas, unchanged. Raises ValueError."""
    for name in value.split(","):
        if name not in TLS12_SUITES:
            raise ValueError(
                f"'{name}' is not one of {', '.join(sorted(TLS12_SUITES))} (those of TLS 1.3 cannot be chosen)"
            )
    return value


def log_level(value: str) -> str:
    """A level of zap's, unchanged. Raises ValueError."""
    if value not in ("debug", "info", "error", "panic") and not re.fullmatch(r"[1-9]\d?", value):
        raise ValueError(f"'{value}' is none of debug, info, error, panic or a number from 1")
    return value


def label_selector(value: str) -> str:
    """A Kubernetes label selector, unchanged. Raises ValueError."""
    selectors.parse(value)
    return value


def name_source(value: str) -> str:
    """Where a tenant or an objective is named, unchanged. Raises ValueError."""
    source(value, ())
    return value


def listed(value: object) -> object:
    """A repeated flag's values; one text (of the environment) has spaces between them."""
    return value.split() if isinstance(value, str) else value


def served(value: object) -> object:
    """`MODEL=LABELS` as a pair; what is not text passes. Raises ValueError."""
    if not isinstance(value, str):
        return value
    model, equals, labels = value.partition("=")
    if not (model and equals and labels):
        raise ValueError(f"'{value}' is not MODEL=LABELS, such as phi4-mini=app=phi4")
    return model, label_selector(labels)


Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0)]
SecondsOrNone = Annotated[float, BeforeValidator(seconds), Field(ge=0)]
Bytes = Annotated[int, BeforeValidator(quantity), Field(gt=0, lt=2**31)]  # gRPC counts in 32 bits
Fraction = Annotated[float, Field(ge=0, le=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
HostPort = Annotated[str, AfterValidator(host_and_port)]
Names = Annotated[str, AfterValidator(names)]
Suites = Annotated[str, AfterValidator(tls_suites)]
LogLevel = Annotated[str, AfterValidator(log_level)]
ObjectName = Annotated[str, AfterValidator(object_name)]
LabelSelector = Annotated[str, AfterValidator(label_selector)]
NameSource = Annotated[str, AfterValidator(name_source)]
OnePool = Annotated[PoolPort, BeforeValidator(lambda value: pool_port(value) if isinstance(value, str) else value)]
Pools = Annotated[tuple[OnePool, ...], NoDecode, BeforeValidator(listed)]
Served = Annotated[tuple[Annotated[tuple[str, str], BeforeValidator(served)], ...], NoDecode, BeforeValidator(listed)]
Http2Bounds = Annotated[
    tuple[Annotated[tuple[str, float], BeforeValidator(http2_limits.bound)], ...], NoDecode, BeforeValidator(listed)
]
TargetPorts = Annotated[tuple[int, ...], NoDecode, BeforeValidator(ports)]


class Settings(BaseSettings):
    """Everything `onehop serve` can be told on its command line."""

    model_config = SettingsConfigDict(env_prefix="ONEHOP_", env_ignore_empty=True, extra="forbid", frozen=True)

    discovery_file: Path | None = Field(None, description="YAML or JSON file of endpoints; watched for changes")
    pool_name: ObjectName | None = Field(
        None, description="the InferencePool to serve; with --discovery-file only a name in metrics and receipts"
    )
    pool: Pools = Field(
        (),
        description="[NAMESPACE/]NAME[=PORT], repeatable: one more InferencePool; with PORT an ext_proc port of its own"
        " where only this pool's endpoints are chosen among",
    )
    pool_selector: LabelSelector | None = Field(None, description="every InferencePool with these labels")
    picker_service: ObjectName | None = Field(
        None, description="every InferencePool whose endpointPickerRef names this Service"
    )
    pool_namespace: ObjectName | None = Field(
        None, description="where the pools are; else $NAMESPACE, the service account's or the kubeconfig's, `default`"
    )
    pool_group: str = Field(
        "inference.networking.k8s.io",
        min_length=1,
        description="API group of the pools; where it has no v1, v1alpha2 of inference.networking.x-k8s.io is read",
    )
    endpoint_selector: LabelSelector | None = Field(
        None, description="pods by label as endpoints, without any pool object; needs --endpoint-target-ports"
    )
    endpoint_target_ports: TargetPorts = Field((), description="their 1 to 8 ports, by commas")
    kubeconfig: Path | None = Field(None, description="how to reach the API server; in a pod nothing needs to be said")
    model_label: str | None = Field(
        None, description="pod label that names the model a pod serves, where its /v1/models cannot be read"
    )
    serves: Served = Field(
        (), description="MODEL=LABELS, repeatable: the model of pods with these labels, where nothing else tells"
    )
    ha_enable_leader_election: bool = Field(
        False, description="active-passive: only the replica that holds the Lease is ready"
    )
    events: bool = Field(True, description="write Kubernetes Events about what an operator must know")
    tenant_from: NameSource = Field(
        "header",
        description="where the tenant (fairness id) is named: header (the protocol's own, on trust), none, host,"
        " header:NAME, attribute:NAME",
    )
    objective_from: NameSource = Field("header", description="where the InferenceObjective is named, in the same way")
    config_file: Path | None = Field(
        None, description="EndpointPickerConfig, as the Go picker reads it; without one the built-in policy chooses"
    )
    config_text: str | None = Field(None, description="the same in place; not with --config-file")
    allow_experimental_plugins: bool = Field(
        False, description="accept plugins that the Go picker calls alpha in the EndpointPickerConfig"
    )
    semantic_config_file: Path | None = Field(
        None, description="vSR v0.3 YAML; without it semantic routing is off and `auto` means the default model"
    )
    default_model: str | None = Field(
        None, description="what `auto` means without a semantic configuration; else the pool's only model"
    )
    lenient: bool = Field(False, description="report what the semantic configuration asks for in vain, and start")
    unknown_model: Literal["refuse", "forward"] = Field(
        "refuse", description="a model no endpoint serves: a 404, or passed on as the Go picker does"
    )
    unparsed: Literal["pass", "refuse"] = Field(
        "pass", description="a body we cannot read (compressed, not JSON, an unknown path): passed on unread, or 4xx"
    )
    usage_sample_every: int = Field(
        0, ge=0, description="where no response bodies are shown, ask for one answer in so many to count tokens; 0 none"
    )
    restore_model: bool = Field(
        False, description="put the model name the client asked for back into answers (full duplex only)"
    )
    bind_address: str = Field("0.0.0.0", description="address of the ext_proc, health and metrics ports")
    grpc_port: Port = Field(9002, description="ext_proc over the endpoints of all pools, and gRPC health")
    semantic_port: Port = Field(
        0, description="ext_proc for the first of two filters, which chooses the model only; plaintext; 0 is off"
    )
    decision_key_file: Path | None = Field(
        None,
        description="keys of 32 bytes or more, one a line, the same on all replicas: the first signs what the first of"
        " two filters tells the second, all are accepted",
    )
    emit_endpoint_scores: bool = Field(
        False, description="tell the gateway every endpoint's score beside the destination, in the metadata envoy.lb"
    )
    disable_endpoint_subset_filter: bool = Field(
        False, description="choose among all endpoints whatever subset the gateway hints at"
    )
    fallback_endpoints: int = Field(
        0, ge=0, le=8, description="further endpoints in the destination, for gateways that try them in turn"
    )
    grpc_health_port: Port = Field(9003, description="gRPC health, always plaintext")
    metrics_port: Port = Field(9090, description="Prometheus /metrics")
    admin_address: HostPort = Field("127.0.0.1:9091", description="/debug pages; loopback unless you say otherwise")
    admin_token: SecretStr | None = Field(
        None, description="bearer token the /debug pages ask for; needed where the admin address is not loopback"
    )
    secure_serving: bool = Field(True, description="TLS on the ext_proc ports; --secure-serving=false is plaintext")
    cert_path: Path | None = Field(
        None, description="folder with tls.crt and tls.key; without it the certificate is self-signed"
    )
    enable_cert_reload: bool = Field(False, description="follow the files of --cert-path: new connections use new ones")
    tls_names: Names = Field(
        "", description="more names for the self-signed certificate, by commas; it has localhost and the host name"
    )
    tls_min_version: Literal["VersionTLS12", "VersionTLS13"] = Field(
        "VersionTLS12", description="lowest TLS version on the ext_proc port"
    )
    tls_cipher_suites: Suites | None = Field(
        None, description="cipher suites of TLS 1.2 by commas, in Go's names; TLS 1.3 has its own"
    )
    grpc_max_recv_msg_size: Bytes = Field(
        64 * 2**20, description="largest ext_proc message we read; Envoy sends a whole buffered body in one"
    )
    grpc_max_send_msg_size: Bytes = Field(64 * 2**20, description="largest ext_proc message we write")
    transport: Literal["grpc", "native"] = Field(
        "native", description="what carries the gRPC ports: grpcio, or our own HTTP/2"
    )
    detect_tls: bool = Field(False, description="take TLS and plaintext on the same ext_proc port (native transport)")
    max_connection_age: SecondsOrNone = Field(
        0.0,
        description="how long until a gateway's connection is asked to make way, give or take a tenth, so that load"
        " spreads over new replicas; its open streams go on; 0 is never (native transport)",
    )
    http2_limit: Http2Bounds = Field(
        (), description=f"NAME=VALUE, repeatable: a bound of each connection (native transport): {http2_limits.NAMES}"
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that carry connections: with more than one, these ask one more, which decides",
    )
    streams_max: int = Field(
        40_000, gt=0, lt=2**31, description="ext_proc streams open at once; one more gets RESOURCE_EXHAUSTED"
    )
    refresh_metrics_interval: Seconds = Field(
        0.5, description="how often each model server's /metrics is read; past 1,250 of them less often"
    )
    classify_deadline: Seconds = Field(0.25, description="time for the semantic stage; then the fallback model")
    body_bytes_max: int = Field(20 * 1024 * 1024, gt=0, description="a larger request body is refused with 413")
    body_timeout: Seconds = Field(60.0, description="a request body that stands still for so long is refused with 408")
    body_bytes_total_max: int = Field(
        512 * 1024 * 1024, gt=0, description="bytes of undecided request bodies held at once; then 503"
    )
    spill_wait: SecondsOrNone = Field(
        1.0, description="predicted wait from which a request may go to the next acceptable model; 0 is never"
    )
    spill_share_max: Fraction = Field(0.5, description="most of a model's requests that are sent to others, 0 to 1")
    spill_margin_max: Fraction = Field(0.1, description="most quality that is given up for a shorter wait, 0 to 1")
    receipts_max: int = Field(2048, gt=0, description="receipts kept for /debug/decisions, a fourth of them refusals")
    receipts_bytes_max: Bytes = Field(64 * 2**20, description="about how much memory they may take")
    receipts_sample: Fraction = Field(
        1.0, description="part of the routed requests whose receipts are kept, 0 to 1; refusals are kept anyway"
    )
    admission: Literal["onehop", "llm-d-legacy", "llm-d-probabilistic", "none"] = Field(
        "onehop",
        description="who waits and who is refused under load: by class and predicted wait; or negative priorities only:"
        " when all is saturated, as the Go picker does by default, or by chance, as its admitter does; or nobody",
    )
    message_timeout: SecondsOrNone = Field(
        2.0, description="the gateway's own message_timeout, which a request that waits must be answered within"
    )
    max_message_timeout: SecondsOrNone = Field(
        30.0, description="its max_message_timeout, up to which a wait is extended once; 0 where it grants nothing"
    )
    queue_timeout: Seconds = Field(60.0, description="longest wait of a request, in full duplex too")
    queue_requests_max: int = Field(10_000, gt=0, description="requests that may wait at once; one more is refused")
    queue_bytes_max: Bytes = Field(256 * 2**20, description="bytes of their bodies; likewise")
    empty_pool_timeout: SecondsOrNone = Field(
        0.0, description="how long requests wait while there is no endpoint at all (scale from zero); 0 refuses at once"
    )
    slo_ttft: Seconds = Field(
        2.0, description="time to the first token that requests are due, on top of twice their own prefill"
    )
    evict_sheddable: bool = Field(
        False, description="cut off requests of negative priority in flight (429) where others would have to wait"
    )
    tracing: bool = Field(
        False, description="export OpenTelemetry traces, as the OTEL_* variables say; needs the extra `otel`"
    )
    tracing_sample: Fraction | None = Field(
        None,
        description="part of the requests whose caller has not decided that are traced, 0 to 1; without it"
        " OTEL_TRACES_SAMPLER counts, else a tenth",
    )
    tracing_endpoint: str | None = Field(
        None, description="URL of the OTLP collector; without it OTEL_EXPORTER_OTLP_ENDPOINT, else localhost"
    )
    drain_timeout: Seconds = Field(30.0, description="after SIGTERM, how long until open streams are cut off")
    drain_notice: SecondsOrNone = Field(
        3.0, description="after SIGTERM, how long new streams are still served; gateways look elsewhere meanwhile"
    )
    zap_encoder: Literal["json", "console"] = Field("console", description="logs as one JSON object a line, or as text")
    zap_log_level: LogLevel | None = Field(
        None, description="debug, info, error, panic, or a number that means what it does for -v; else -v counts"
    )
    v: int = Field(2, ge=0, le=10, description="log verbosity: 0 errors, 1 warnings, 2 information, 4 and up debug")

    @property
    def naming(self) -> Naming:
        """How labels tell the models of endpoints."""
        return Naming(self.model_label or "", tuple((model, selectors.parse(text)) for model, text in self.serves))


REPEATABLE = ("pool", "serves", "http2_limit")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(self.prog, message)


def parse(arguments: Sequence[str], prog: str = "onehop serve") -> Settings:
    """Settings from flags and environment. Raises ConfigError naming the flag; `--help` prints and exits."""
    given, unknown = _parser(prog).parse_known_args(arguments)
    if unknown:
        raise ConfigError(unknown[0], _unknown(unknown[0]))
    values = {name: value for name, value in vars(given).items() if value is not None}
    for flag in picker_flags.FLAGS:
        if flag.name in values:
            flag.check(values.pop(flag.name))
    settings = _settings({name: value for name, value in values.items() if value or not _empty_is_absent(name)})
    _check_together(settings)
    return settings


def _parser(prog: str) -> _Parser:
    parser = _Parser(prog=prog, allow_abbrev=False, description="The endpoint picker service.")
    optional: dict[str, Any] = {"nargs": "?", "const": "true"}
    for name, field in Settings.model_fields.items():
        flags = ["-v", "--v"] if name == "v" else [_flag(name)]
        default = "" if field.default in (None, "", ()) else f" (default {field.default})"
        parser.add_argument(
            *flags,
            dest=name,
            default=None,
            metavar="VALUE",
            help=f"{field.description}{default}",
            **(optional if field.annotation is bool else {}),
            action="append" if name in REPEATABLE else "store",
        )
    others = parser.add_argument_group("the Go picker's flags that are accepted where they ask for what we do")
    for flag in picker_flags.FLAGS:
        others.add_argument(
            f"--{flag.name}",
            dest=flag.name,
            default=None,
            metavar="VALUE",
            help=flag.here,
            **(optional if flag.is_boolean else {}),
        )
    return parser


def _settings(values: dict[str, Any]) -> Settings:
    try:
        return Settings(**values)  # texts, which pydantic turns into what each field is
    except ValidationError as invalid:
        first = invalid.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise ConfigError(_flag(name), f"{first['msg']} (got {first['input']!r})") from None


def _asks_for_tls(settings: Settings) -> list[str]:
    """The TLS flags that were given something."""
    for_tls = ("cert_path", "enable_cert_reload", "tls_names", "tls_min_version", "tls_cipher_suites")
    return [name for name in for_tls if getattr(settings, name) != Settings.model_fields[name].default]


def _check_together(settings: Settings) -> None:
    """What is wrong only in company: a flag that could have no effect, an open door without a key."""
    for name in _asks_for_tls(settings):
        if not settings.secure_serving:
            raise ConfigError(_flag(name), "has no effect with --secure-serving=false; leave one of them out")
    if settings.enable_cert_reload and settings.cert_path is None:
        raise ConfigError("--enable-cert-reload", "needs --cert-path: there are no files to follow")
    if settings.tls_names and settings.cert_path is not None:
        raise ConfigError("--tls-names", "has no effect with --cert-path: that certificate has its names")
    if settings.tls_cipher_suites and settings.tls_min_version == "VersionTLS13":
        raise ConfigError("--tls-cipher-suites", "has no effect with --tls-min-version=VersionTLS13")
    if settings.config_file is not None and settings.config_text is not None:
        raise ConfigError("--config-text", "cannot go with --config-file; leave one of them out")
    _check_source(settings)
    _check_transport(settings)
    for name in ("tracing_sample", "tracing_endpoint"):
        if getattr(settings, name) is not None and not settings.tracing:
            raise ConfigError(_flag(name), "has no effect without --tracing; leave one of them out")
    if settings.detect_tls and not settings.secure_serving:
        raise ConfigError("--detect-tls", "has no effect with --secure-serving=false; leave one of them out")
    if settings.admin_token is None and not is_loopback(settings.admin_address):
        raise ConfigError(
            "--admin-address",
            f"{settings.admin_address} is not loopback, so it needs a token in ONEHOP_ADMIN_TOKEN or --admin-token",
        )


def _check_transport(settings: Settings) -> None:
    """What only our own HTTP/2 has, and its bounds."""
    http2_limits.check(settings.http2_limit)
    if settings.transport == "native":
        return
    for name in ("detect_tls", "max_connection_age", "http2_limit"):
        if getattr(settings, name):
            raise ConfigError(_flag(name), "has no effect with --transport=grpc; leave one of them out")
    if settings.workers > 1:
        raise ConfigError("--workers", "more than 1 needs --transport=native: grpcio takes no connections from others")


def _check_source(settings: Settings) -> None:
    """Endpoints come from a file, from pods by label, or from pools, and never from two of these."""
    of_pools_only = ("endpoint_selector", "pool", "pool_selector", "picker_service", "ha_enable_leader_election")
    of_pools = [name for name in ("pool_name", "pool", "pool_selector", "picker_service") if getattr(settings, name)]
    if settings.discovery_file is not None:
        for name in (*of_pools_only, "kubeconfig"):
            if getattr(settings, name):
                raise ConfigError(_flag(name), "has no effect with --discovery-file; leave one of them out")
    elif settings.endpoint_selector is not None and of_pools:
        raise ConfigError("--endpoint-selector", f"cannot go with {_flag(of_pools[0])}; leave one of them out")
    if (settings.endpoint_selector is None) != (settings.endpoint_target_ports == ()):
        raise ConfigError("--endpoint-selector", "and --endpoint-target-ports need each other")
    if settings.decision_key_file is not None and not (settings.semantic_port or any(p.port for p in settings.pool)):
        raise ConfigError("--decision-key-file", "has no effect without --semantic-port or a --pool with a port")
    _check_ports(settings)


def _check_ports(settings: Settings) -> None:
    """Every port is one server's; 0 is any that is free."""
    taken: dict[int, str] = {}
    named = [(name, getattr(settings, name)) for name in ("grpc_port", "grpc_health_port", "metrics_port")]
    for name, port in [*named, ("semantic_port", settings.semantic_port), *(("pool", p.port) for p in settings.pool)]:
        if port and taken.setdefault(port, name) is not name:
            raise ConfigError(_flag(name), f"port {port} is taken by {_flag(taken[port])}")
        if port and name == "pool" and [p.port for p in settings.pool].count(port) > 1:
            raise ConfigError(_flag(name), f"port {port} is given twice")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _empty_is_absent(name: str) -> bool:
    """Go's flags for texts, files and sizes are empty by default; numbers and booleans cannot be."""
    field = Settings.model_fields[name]
    return field.default in (None, ()) or isinstance(field.default, str) or name.endswith("_msg_size")


def _unknown(flag: str) -> str:
    if not flag.startswith("-"):
        return "unexpected argument"
    known = [_flag(name) for name in Settings.model_fields] + [f"--{flag.name}" for flag in picker_flags.FLAGS]
    near = difflib.get_close_matches(flag.partition("=")[0], known, n=1)
    return f"unknown flag{f'; did you mean {near[0]}?' if near else ''} (onehop serve --help lists them)"
