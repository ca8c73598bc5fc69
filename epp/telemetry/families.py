"""The metrics of requests: every name with its labels, its buckets and what it was called before.

Names, labels and buckets of `llm_d_epp_*` and of their deprecated twins are the Go picker's, so that its dashboards
go on working; what only we know is under `onehop_`. Where the Go picker has 32,778 among powers of two, we have 32,768.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from epp.telemetry.series import Counter, Gauge, Histogram, Key, Rows, Twin

REQUEST = ("model_name", "target_model_name", "fairness_id", "priority")
_OLD = ("model_name", "target_model_name", "priority")
_ATTEMPT = ("status", "target_model_name", "endpoint_name", "namespace", "port")
_PLUGIN = ("extension_point", "plugin_type", "plugin_name")
_PREFIX = ("plugin_name", "plugin_type")
_REWRITE = ("model_rewrite_name", "model_name", "target_model")
_BUILD = ("commit", "build_ref")

_FAST_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_TTFT_S = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120)
_DURATION_S = (*_TTFT_S, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)
_NTPOT_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_TPOT_S = (0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 2)
PACE_BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2)
_REQUEST_WORK_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_RESPONSE_WORK_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_STREAM_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_PHASE_S = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_RATIO = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10)
_BYTES = tuple(2**n for n in range(6, 31))
_OUTPUT = (1, *(2**n for n in range(3, 14)))
_INPUT = (*_OUTPUT, *(2**n for n in range(14, 21)))
_HIT_RATIO = tuple(tenths / 10 for tenths in range(11))
_HIT_BYTES = (0, *(2**n for n in range(4, 17)))


_TARGET, _MODEL = ("target_model_name",), (("target_model_name", "model"),)


def _is_moved(key: Key) -> bool:
    asked, target, *_ = key
    return target not in ("", asked)


_MOVED = Twin(
    "llm_model_routing_modifications",
    ("model_name", "target_model_name"),
    (("model_name", "source_model"), ("target_model_name", "target_model")),
    _is_moved,
    "Requests that went to another model than they asked for.",
)


class RequestFamilies:
    """Up to the decision."""

    def __init__(self) -> None:
        name, text = "request", "Requests that got an endpoint."
        twins = [*_older("objective", name, _OLD), _by_model("requests", "Requests by the model they went to."), _MOVED]
        self.routed = Counter(f"llm_d_epp_{name}", text, REQUEST, twins)
        name, text, labels = "request_error", "Requests refused, or answered with an error.", (*REQUEST, "error_code")
        renamed = (("target_model_name", "model"), ("error_code", "reason"))
        vsr = Twin("llm_request_errors", ("target_model_name", "error_code"), renamed, text="Likewise, by model.")
        twins = [*_older("objective", name, (*_OLD, "error_code")), vsr]
        self.errors = Counter(f"llm_d_epp_{name}", text, labels, twins)
        name, text, old = "request_running", "Requests sent and not ended.", "running_requests"
        twins = [*_older("objective", old, ("model_name",)), _by_model("inflight_requests", "Likewise, by model.")]
        self.running = Gauge(f"llm_d_epp_{name}", text, REQUEST, twins)
        self.bytes = _by_request("request_size_bytes", "request_sizes", "Bytes of request bodies.", _BYTES)
        name, text = "model_rewrite_decisions", "Requests sent to another model by an InferenceModelRewrite."
        self.rewrites = Counter(f"llm_d_epp_{name}", text, _REWRITE, _older("extension", name, _REWRITE))
        name, text = "request_processing_duration_seconds", "From the whole request to the decision."
        self.processing = Histogram(f"llm_d_epp_{name}", text, _REQUEST_WORK_S)


class PickFamilies:
    """The choice of an endpoint. `prefix_blocks` says how large the prefix index is, `used` which scorers are asked."""

    def __init__(self, prefix_blocks: Callable[[], Rows], used: Callable[[], Rows]) -> None:
        text = "1 for a scorer of some port's profile, 0 while no endpoint tells what it needs."
        self.ejections = Counter("onehop_ejection", "Endpoints left out for a while, by why.", ["reason"])
        self.used = Gauge("onehop_scorer_used", text, ["plugin_type"], read=used)
        name, text = "scheduler_attempts", "Choices of an endpoint, and which where there was one."
        older = Twin(f"inference_extension_{name}", _ATTEMPT, (("endpoint_name", "pod_name"),))
        self.attempts = Counter(f"llm_d_epp_{name}", text, _ATTEMPT, [older])
        self.seconds = _of_ours("scheduler_e2e_duration_seconds", "Time to pick an endpoint.", _FAST_S)
        self.plugins = _of_ours("plugin_duration_seconds", "Time of one call of a plugin.", _FAST_S, _PLUGIN)
        name, text = "prefix_indexer_size", "Blocks of prompts that were sent somewhere, as far as we remember."
        older = Twin(f"inference_extension_{name}", _PREFIX)
        self.prefix_blocks = Gauge(f"llm_d_epp_{name}", text, _PREFIX, [older], prefix_blocks)
        text = "Part of the prompt that its endpoint was sent before."
        self.hit_ratio = _of_ours("prefix_indexer_hit_ratio", text, _HIT_RATIO, _PREFIX)
        text = "About how many bytes of the prompt that is."
        self.hit_bytes = _of_ours("prefix_indexer_hit_bytes", text, _HIT_BYTES, _PREFIX)


class AnswerFamilies:
    """From the decision on."""

    def __init__(self) -> None:
        name = "request_duration_seconds"
        text, vsr = "From the whole request to the end of its stream.", "llm_model_completion_latency_seconds"
        self.seconds = _by_request(name, name, text, _DURATION_S, vsr)
        name, old, vsr = "request_input_tokens", "input_tokens", "llm_prompt_tokens_per_request"
        self.input = _by_request(name, old, "Prompt tokens.", _INPUT, vsr)
        name, old, vsr = "request_output_tokens", "output_tokens", "llm_completion_tokens_per_request"
        self.output = _by_request(name, old, "Generated tokens.", _OUTPUT, vsr)
        text = "Prompt tokens from the prefix cache."
        self.cached = _by_request("request_cached_tokens", "prompt_cached_tokens", text, _INPUT)
        text = "Bytes of response bodies, where shown."
        self.bytes = _by_request("response_size_bytes", "response_sizes", text, _INPUT)
        old, text = "normalized_time_per_output_token_seconds", "Seconds to the end, for each generated token."
        self.ntpot = _by_request("request_ntpot_seconds", old, text, _NTPOT_S)
        text = "From the whole request to the first answer byte we see."
        twins, labels = [_by_model("ttft_seconds", "Likewise, by model.")], (*REQUEST, "streaming")
        self.ttft = Histogram("llm_d_epp_request_ttft_seconds", text, _TTFT_S, labels, twins)
        text = "First answer byte to end, for each token after the first, of streams."
        twins = [_by_model("tpot_seconds", "Likewise, by model.")]
        self.tpot = Histogram("llm_d_epp_request_streaming_tpot_seconds", text, _TPOT_S, REQUEST, twins)
        text = "From one piece of a streamed answer to the next."
        self.itl = Histogram("llm_d_epp_request_streaming_itl_seconds", text, PACE_BOUNDS_S, REQUEST)
        text = "Our own time for all messages of one answer."
        self.processing = Histogram("llm_d_epp_response_processing_duration_seconds", text, _RESPONSE_WORK_S)


class ProcessFamilies:
    """The streams, and what only we count. What is read when it is scraped: which conditions hold, reloads, spans."""

    def __init__(self, conditions: Callable[[], Rows], reloads: Callable[[], Rows], spans: Callable[[], Rows]) -> None:
        text = "What this process was built from."
        self.info = Gauge("llm_d_epp_info", text, _BUILD, _older("extension", "info", _BUILD))
        self.open = Gauge("llm_d_epp_extproc_streams_inflight", "Open ext_proc streams.")
        self.streams = Counter("llm_d_epp_extproc_streams", "Ended ext_proc streams by gRPC code.", ["code"])
        text = "From the start to the end of ext_proc streams."
        self.stream_seconds = Histogram("llm_d_epp_extproc_stream_duration_seconds", text, _STREAM_S)
        text = "Reads of an endpoint that got no answer, or one that was refused."
        self.unpolled = Counter("llm_d_epp_datalayer_poll_errors", text, ["source_type"])
        text, labels = "Answers of an endpoint that could not be understood.", ["source_type", "extractor_type"]
        self.unread = Counter("llm_d_epp_datalayer_extract_errors", text, labels)
        self.outcomes = Counter("onehop_request_outcome", "Ended requests by outcome.", ["outcome"])
        labels = ["classification", "decision"]
        vsr = Twin("llm_decision_evaluation", text="Requests for an alias.")
        self.classified = Counter("onehop_classification", "Requests for an alias.", labels, [vsr])
        labels = ["signal_type", "signal_name"]
        self.signals = Counter("llm_signal_match", "Signals that held, by vSR's name for the metric.", labels)
        text = "Decisions that applied, by vSR's name for the metric."
        self.decisions = Counter("llm_decision_match", text, ["decision_name"])
        self.surprises = Counter("onehop_surprise", "Defects of ours that were met.", ["type"])
        name, text = "llm_model_routing_latency_seconds", "Time to choose a model."
        vsr = Twin(name, where=lambda key: key[0] == "choose", text=text)
        text = "Where the time of a request goes."
        self.phases = Histogram("onehop_phase_seconds", text, _PHASE_S, ["phase"], [vsr])
        self.leader = Gauge("onehop_leader", "1 while this replica holds the Lease.", ["lease"])
        text, labels = "Requests that left a busy model, or were held back (no `to`).", ["from", "to", "reason"]
        self.spilled = Counter("onehop_spill", text, labels)
        text, labels = "Candidates that could not answer a request.", ["model", "reason"]
        self.excluded = Counter("onehop_candidate_excluded", text, labels)
        text = "Receipts by what became of them."
        self.receipts = Counter("onehop_receipt", text, ["fate"])
        text = "Seconds to the first token after the decision, of those predicted."
        self.ttft_ratio = Histogram("onehop_ttft_ratio", text, _RATIO, ["target_model_name"])
        text = "First tokens as predicted: seconds after the decision."
        self.ttft_predicted = Histogram("onehop_predicted_ttft_seconds", text, _TTFT_S, ["target_model_name"])
        text, labels = "Files that were read anew, because they changed.", ["file", "result"]
        self.reloads = Counter("onehop_reload", text, labels, read=reloads)
        text = "Spans of traces by what became of them."
        self.spans = Counter("onehop_span", text, ["fate"], read=spans)
        self.connections = Gauge("onehop_connections", "Open connections of gateways (native transport).")
        text = "Connections that we ended because the peer went beyond a bound (native transport)."
        self.breaches = Counter("onehop_connection_breaches", text, ["bound"])
        text = "Worker processes (--workers) that were started again."
        self.restarts = Counter("onehop_worker_restarts", text, ["reason"])
        text = "1 while something is wrong that an operator must know of."
        self.conditions = Gauge("onehop_condition", text, ["condition"], read=conditions)


def _by_request(name: str, old: str, text: str, buckets: Sequence[float], vsr: str = "") -> Histogram:
    twins = _older("objective", old, _OLD)
    if vsr:
        twins.append(Twin(vsr, _TARGET, _MODEL, text="Likewise, by model."))
    return Histogram(f"llm_d_epp_{name}", text, buckets, REQUEST, twins)


def _by_model(name: str, text: str) -> Twin:
    """vSR's name, which has the model alone."""
    return Twin(f"llm_model_{name}", _TARGET, _MODEL, text=text)


def _of_ours(name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
    return Histogram(f"llm_d_epp_{name}", text, buckets, labels, _older("extension", name, tuple(labels)))


def _older(group: str, name: str, labels: tuple[str, ...]) -> list[Twin]:
    return [Twin(f"inference_{group}_{name}", labels)]
