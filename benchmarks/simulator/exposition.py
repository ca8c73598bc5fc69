"""The replica's metrics as vLLM writes them: names, labels and order of `/metrics`, Prometheus text format 0.0.4."""

from collections.abc import Iterator

from benchmarks.simulator.replica import Replica
from benchmarks.simulator.stats import Histogram


def expose(replica: Replica, model: str, adapters_max: int | None, started_at: float, unix_now: float) -> str:
    """Return the text for a replica that serves `model`; `adapters_max` is None where LoRA is off. Unix seconds."""
    return "\n".join(_lines(replica, _labels(model_name=model, engine="0"), adapters_max, started_at, unix_now)) + "\n"


def _lines(
    replica: Replica, labels: str, adapters_max: int | None, started_at: float, unix_now: float
) -> Iterator[str]:
    load, stats, config = replica.load, replica.stats, replica.config
    running, waiting = "Number of requests in model execution batches.", "Number of requests waiting to be processed."
    yield from _gauge("num_requests_running", running, labels, load.running)
    yield from _gauge("num_requests_waiting", waiting, labels, load.waiting)
    usage = "KV-cache usage. 1 means 100 percent usage."
    yield from _gauge("kv_cache_usage_perc", usage, labels, load.kv_usage)
    counters = (
        ("prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", stats.prefix_queries),
        ("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", stats.prefix_hits),
        ("num_preemptions", "Cumulative number of preemption from the engine.", stats.preemptions),
        ("prompt_tokens", "Number of prefill tokens processed.", stats.prompt_tokens),
        ("generation_tokens", "Number of generation tokens processed.", stats.generation_tokens),
    )
    for name, text, value in counters:
        yield from _counter(name, text, labels, value, started_at)
    ttft, itl = "Histogram of time to first token in seconds.", "Histogram of inter-token latency in seconds."
    yield from _histogram("time_to_first_token_seconds", ttft, labels, stats.ttft, started_at)
    yield from _histogram("inter_token_latency_seconds", itl, labels, stats.itl, started_at)
    e2e = "Histogram of e2e request latency in seconds."
    yield from _histogram("e2e_request_latency_seconds", e2e, labels, stats.e2e, started_at)
    cache = _labels(block_size=config.block_tokens, enable_prefix_caching=True, num_gpu_blocks=config.kv_blocks)
    yield from _gauge("cache_config_info", "Information of the LLMEngine CacheConfig", f'{cache},engine="0"', 1)
    if adapters_max is not None:
        lora = _labels(
            max_lora=adapters_max,
            running_lora_adapters=",".join(load.running_adapters),
            waiting_lora_adapters=",".join(load.waiting_adapters),
        )
        yield from _gauge("lora_requests_info", "Running stats on lora requests.", lora, unix_now)


def _gauge(name: str, text: str, labels: str, value: float) -> Iterator[str]:
    yield from _header(f"vllm:{name}", text, "gauge")
    yield f"vllm:{name}{{{labels}}} {float(value)!r}"


def _counter(name: str, text: str, labels: str, value: float, started_at: float) -> Iterator[str]:
    yield from _header(f"vllm:{name}_total", text, "counter")
    yield f"vllm:{name}_total{{{labels}}} {float(value)!r}"
    yield from _created(name, text, labels, started_at)


def _histogram(name: str, text: str, labels: str, histogram: Histogram, started_at: float) -> Iterator[str]:
    yield from _header(f"vllm:{name}", text, "histogram")
    total = 0
    for bound, count in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
        total += count
        yield f'vllm:{name}_bucket{{{labels},le="{bound}"}} {float(total)!r}'
    yield f"vllm:{name}_count{{{labels}}} {float(total)!r}"
    yield f"vllm:{name}_sum{{{labels}}} {histogram.sum!r}"
    yield from _created(name, text, labels, started_at)


def _created(name: str, text: str, labels: str, started_at: float) -> Iterator[str]:
    yield from _header(f"vllm:{name}_created", text, "gauge")
    yield f"vllm:{name}_created{{{labels}}} {started_at!r}"


def _header(name: str, text: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _labels(**labels: object) -> str:
    return ",".join(f'{name}="{_escape(str(value))}"' for name, value in labels.items())


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
