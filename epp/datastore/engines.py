"""What each kind of model server calls its numbers: the engines we know, and those that configuration describes.

Must stay true: a signal has the name of the `Load` field it fills; of several spellings the newest comes first, and
the first that a server has is the one that counts. Names: vLLM, SGLang, TensorRT-LLM and Triton as of 2025; they are
also those of llm-d's `core-metrics-extractor`. Two differences: Triton's `nv_inference_exec_count` is a counter, which
that reads as requests running (so the replica that has worked longest looks busiest) and we do not read at all; and
servers of older versions are understood, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

ENGINE_LABELS = ("llm-d.ai/engine-type", "inference.networking.k8s.io/engine-type")  # the newer one wins
REQUIRED = frozenset({"waiting", "running", "kv_usage"})  # what choices are made by
SIGNALS = (
    "waiting",
    "running",
    "kv_usage",
    "block_size",
    "num_blocks",
    "prompt_tokens",
    "generated_tokens",
    "cache_queries",
    "cache_hits",
    "decode_seconds",
    "decode_tokens",
    "first_tokens",
    "first_token_seconds",
    "lora",
)
LOADS = 5  # of the signals, the first that tell how busy and how large it is; the rest are counters
OPTIONAL = frozenset({"lora"})  # an engine without adapters has none of it, and nothing is wrong
METRICS = "/metrics"
SPEC_LENGTH_MAX = 512
CUSTOM_MAX = 32  # further numbers of one engine


@dataclass(slots=True, frozen=True)
class Spec:
    """Some series of one family: those whose labels have these values; `value_of` where a label holds the number."""

    family: str
    labels: tuple[tuple[str, str], ...] = ()
    value_of: str | None = None

    def __str__(self) -> str:
        labels = ",".join(
            [f"{name}={value}" for name, value in self.labels] + ([self.value_of] if self.value_of else [])
        )
        return f"{self.family}{{{labels}}}" if labels else self.family


_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SPEC = re.compile(rf"\s*({_NAME})\s*(?:\{{(.*)\}})?\s*", re.DOTALL)
_LABEL = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*(?:\"([^\"\\\n]*)\"|([^\"\\\s,{}]+))\s*")


def spec(text: str, value_of: str | None = None) -> Spec:
    """A spec as the Go picker's files write it: `family`, or `family{label=value,...}`, quotes allowed.

    Raises ValueError saying what is wrong with it.
    """
    if len(text) > SPEC_LENGTH_MAX:
        raise ValueError(f"is longer than {SPEC_LENGTH_MAX} characters")
    whole = _SPEC.fullmatch(text)
    if whole is None:
        raise ValueError(f"must be a metric name, or name{{label=value,...}}, not {text!r}")
    labels = []
    for part in (whole[2] or "").split(","):
        if not part.strip():
            continue
        label = _LABEL.fullmatch(part)
        if label is None:
            raise ValueError(f"{part.strip()!r} must be label=value")
        labels.append((label[1], label[2] if label[2] is not None else label[3]))
    return Spec(whole[1], tuple(sorted(labels)), value_of)


Spellings = tuple[Spec, ...]


@dataclass(slots=True, frozen=True, eq=False)
class Engine:
    """One kind of model server: where each signal is found, and further numbers by the names given to them.

    `path` is where it tells them, `limit` whether it is worth asking it for a few of them only (`?name[]=`, which the
    Python client library of Prometheus understands; who does not tells everything). With a `prefix`, no other engine's
    families begin like this one's.
    """

    name: str
    series: Mapping[str, Spellings]
    custom: Mapping[str, Spec] = field(default_factory=dict)
    path: str = METRICS
    limit: bool = False
    prefix: str = ""

    def __post_init__(self) -> None:
        assert set(self.series) <= set(SIGNALS)

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Everything we look for."""
        return (*(each for spellings in self.series.values() for each in spellings), *self.custom.values())

    @property
    def families(self) -> tuple[str, ...]:
        """Every family we read, once."""
        return tuple(dict.fromkeys(each.family for each in self.specs))

    @property
    def telling(self) -> tuple[str, ...]:
        """The families by which the engine is known: those of its load, and whatever it has where none tells that."""
        told = dict.fromkeys(each.family for signal in SIGNALS[:LOADS] for each in self.series.get(signal, ()))
        return tuple(told) or self.families


def _engine(name: str, prefix: str, path: str = METRICS, limit: bool = False, **series: Sequence[str] | str) -> Engine:
    """Signals by their spellings; in `family[label]` the number is in a label."""

    def one(text: str) -> Spec:
        family, _, label = text.partition("[")
        return spec(family, label.rstrip("]") or None)

    spellings = {s: tuple(map(one, [texts] if isinstance(texts, str) else texts)) for s, texts in series.items()}
    return Engine(name, spellings, path=path, limit=limit, prefix=prefix)


VLLM = _engine(
    "vllm",
    "vllm:",
    limit=True,
    waiting="vllm:num_requests_waiting",
    running="vllm:num_requests_running",
    kv_usage=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    block_size="vllm:cache_config_info[block_size]",
    num_blocks="vllm:cache_config_info[num_gpu_blocks]",
    prompt_tokens="vllm:prompt_tokens_total",
    generated_tokens="vllm:generation_tokens_total",
    cache_queries=("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    cache_hits=("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    decode_seconds=("vllm:inter_token_latency_seconds_sum", "vllm:time_per_output_token_seconds_sum"),
    decode_tokens=("vllm:inter_token_latency_seconds_count", "vllm:time_per_output_token_seconds_count"),
    first_tokens="vllm:time_to_first_token_seconds_count",
    first_token_seconds="vllm:time_to_first_token_seconds_sum",
    lora="vllm:lora_requests_info",
)
SGLANG = _engine(
    "sglang",
    "sglang:",
    limit=True,
    waiting="sglang:num_queue_reqs",
    running="sglang:num_running_reqs",
    kv_usage="sglang:token_usage",
    block_size="sglang:cache_config_info[page_size]",
    num_blocks="sglang:cache_config_info[num_pages]",
    prompt_tokens="sglang:prompt_tokens_total",
    generated_tokens="sglang:generation_tokens_total",
    cache_queries="sglang:prompt_tokens_total",
    cache_hits="sglang:cached_tokens_total",
    decode_seconds="sglang:inter_token_latency_seconds_sum",
    decode_tokens="sglang:inter_token_latency_seconds_count",
    first_tokens="sglang:time_to_first_token_seconds_count",
    first_token_seconds="sglang:time_to_first_token_seconds_sum",
)
TRTLLM = _engine(
    "trtllm-serve",
    "trtllm_",
    path="/prometheus/metrics",  # its /metrics is JSON
    limit=True,
    waiting="trtllm_num_requests_waiting",
    running="trtllm_num_requests_running",
    kv_usage="trtllm_kv_cache_utilization",
    block_size="trtllm_kv_cache_tokens_per_block",
    num_blocks="trtllm_kv_cache_max_blocks",
)
TRITON_TRTLLM = _engine(
    "triton-tensorrt-llm",
    "nv_trt_llm_",
    waiting="nv_trt_llm_request_metrics{request_type=waiting}",
    running="nv_trt_llm_request_metrics{request_type=scheduled}",
    kv_usage="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}",
    block_size="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=tokens_per}",
    num_blocks="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}",
)
TRITON = _engine("triton", "nv_inference_", waiting="nv_inference_pending_request_count")
BUILT_IN = (VLLM, SGLANG, TRTLLM, TRITON_TRTLLM, TRITON)  # Triton's own come with its TensorRT-LLM backend's, too


def custom(
    name: str,
    *,
    queued: str | None = None,
    running: str | None = None,
    kv_usage: str | None = None,
    lora: str | None = None,
    cache_info: str | None = None,
    block_size_label: str = "block_size",
    num_blocks_label: str = "num_gpu_blocks",
    block_size: str | None = None,
    num_blocks: str | None = None,
    metrics: Mapping[str, str] | None = None,
    path: str | None = None,
) -> Engine:
    """An engine as one entry of `engineConfigs` describes it: specs as texts, what is left out is not told.

    An entry with the name of an engine we know stands in for it, and keeps its counters of tokens and its path. The
    cache's size is in labels of `cache_info`, or the values of `block_size` and `num_blocks`. `metrics` are
    `customMetrics`: key -> spec. Raises ValueError with the name of the argument first.
    """
    if not name:
        raise ValueError("name must not be empty")
    if metrics and len(metrics) > CUSTOM_MAX:
        raise ValueError(f"metrics must be at most {CUSTOM_MAX}")
    said = {
        "waiting": _read("queued", queued),
        "running": _read("running", running),
        "kv_usage": _read("kv_usage", kv_usage),
        "lora": _read("lora", lora),
        "block_size": (*_read("block_size", block_size), *_read("cache_info", cache_info, block_size_label)),
        "num_blocks": (*_read("num_blocks", num_blocks), *_read("cache_info", cache_info, num_blocks_label)),
    }
    known = next((engine for engine in BUILT_IN if engine.name == name), None)
    counters = {s: known.series[s] for s in SIGNALS if s not in said and s in known.series} if known else {}
    more = {key: _read(f"metrics[{key}]", text)[0] for key, text in (metrics or {}).items()}
    series = {signal: spellings for signal, spellings in said.items() if spellings}
    return Engine(name, {**series, **counters}, more, path or (known.path if known else METRICS))


def _read(argument: str, text: str | None, value_of: str | None = None) -> Spellings:
    if text is None:
        return ()
    try:
        return (spec(text, value_of),)
    except ValueError as wrong:
        raise ValueError(f"{argument} {wrong}") from None


@dataclass(slots=True, frozen=True)
class Engines:
    """The engines that may be met. A pod's label says which one it is; without one, `default`, else what its text is.

    `label` is looked at before the usual ones.
    """

    known: tuple[Engine, ...] = BUILT_IN
    label: str | None = None
    default: str | None = None

    @classmethod
    def of(cls, configured: Iterable[Engine] = (), label: str | None = None, default: str | None = None) -> Engines:
        """Configured engines before the built-in ones, in whose place they stand where the names are the same."""
        mine = tuple(configured)
        names = {engine.name for engine in mine}
        if len(names) < len(mine):
            raise ValueError("configured engines must have names of their own")
        known = (*mine, *(engine for engine in BUILT_IN if engine.name not in names))
        if default is not None and default not in {engine.name for engine in known}:
            raise ValueError(f"default {default!r} is none of {', '.join(engine.name for engine in known)}")
        return cls(known, label, default)

    def named(self, labels: Mapping[str, str]) -> Engine | None:
        """The engine that a pod's labels, or configuration, say it is; None where neither does, or nobody knows it."""
        keys = (self.label, *ENGINE_LABELS) if self.label else ENGINE_LABELS
        name = next((labels[key] for key in keys if labels.get(key)), self.default)
        return next((engine for engine in self.known if engine.name == name), None)
