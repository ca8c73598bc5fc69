"""Process settings: flags over `ONEHOP_*` environment variables over defaults.

One field is one flag (`grpc_port` is `--grpc-port`), with the Go picker's spellings: `--flag=value`, `--flag value`,
booleans as `--flag` or `--flag=false`, durations as `50ms` or `1m30s`.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from epp.domain import ConfigError

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def seconds(value: object) -> object:
    """A Go duration (`1m30s`) or a plain number of seconds. Raises ValueError."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    terms = _TERM.findall(value)
    if not terms or "".join(number + unit for number, unit in terms) != value:
        raise ValueError(f"'{value}' is not a duration such as 500ms, 30s or 1m30s")
    return sum(float(number) * _UNITS_S[unit] for number, unit in terms)


def host_and_port(value: str) -> str:
    """`host:port`, unchanged. Raises ValueError."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"'{value}' is not host:port")
    return value


Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
HostPort = Annotated[str, AfterValidator(host_and_port)]


class Settings(BaseSettings):
    """Everything `onehop serve` can be told on its command line."""

    model_config = SettingsConfigDict(env_prefix="ONEHOP_", extra="forbid", frozen=True)

    discovery_file: Path | None = Field(None, description="YAML or JSON file of endpoints; watched for changes")
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
    pool_name: str = Field("default", description="name of the pool in metrics and receipts")
    bind_address: str = Field("0.0.0.0", description="address of the ext_proc, health and metrics ports")
    grpc_port: Port = Field(9002, description="ext_proc, and gRPC health")
    grpc_health_port: Port = Field(9003, description="gRPC health")
    metrics_port: Port = Field(9090, description="Prometheus /metrics")
    admin_address: HostPort = Field("127.0.0.1:9091", description="/debug pages; loopback unless you say otherwise")
    secure_serving: bool = Field(False, description="TLS on the ext_proc port; not supported yet, so only false")
    refresh_metrics_interval: Seconds = Field(0.5, description="how often each model server's /metrics is read")
    classify_deadline: Seconds = Field(0.25, description="time for the semantic stage; then the fallback model")
    body_bytes_max: int = Field(20 * 1024 * 1024, gt=0, description="a larger request body is refused with 413")
    drain_timeout: Seconds = Field(30.0, description="how long open streams may run on after SIGTERM")
    v: int = Field(2, ge=0, le=10, description="log verbosity: 0 errors, 1 warnings, 2 information, 4 and up debug")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(self.prog, message)


def parse(arguments: Sequence[str], prog: str = "onehop serve") -> Settings:
    """Settings from flags and environment. Raises ConfigError naming the flag; `--help` prints and exits."""
    parser = _Parser(prog=prog, allow_abbrev=False, description="The endpoint picker service.")
    for name, field in Settings.model_fields.items():
        flags = ["-v", "--v"] if name == "v" else ["--" + name.replace("_", "-")]
        value: dict[str, Any] = {"nargs": "?", "const": "true"} if field.annotation is bool else {}
        default = "" if field.default is None else f" (default {field.default})"
        parser.add_argument(
            *flags, dest=name, default=None, metavar="VALUE", help=f"{field.description}{default}", **value
        )
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise ConfigError(unknown[0], _unknown(unknown[0]))
    flags_given = {name: value for name, value in vars(given).items() if value is not None}
    try:
        settings = Settings(**flags_given)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise ConfigError("--" + name.replace("_", "-"), f"{first['msg']} (got {first['input']!r})") from None
    if settings.secure_serving:
        raise ConfigError("--secure-serving", "TLS is not supported yet; set --secure-serving=false")
    return settings


def _unknown(flag: str) -> str:
    if not flag.startswith("-"):
        return "unexpected argument"
    names = ["--" + name.replace("_", "-") for name in Settings.model_fields]
    near = difflib.get_close_matches(flag.partition("=")[0], names, n=1)
    return f"unknown flag{f'; did you mean {near[0]}?' if near else ''} (onehop serve --help lists them)"
