"""Which engine a text is from, and what each engine's own text says."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scrape.texts import vllm
from epp.datastore import engines, exposition
from epp.datastore.engines import BUILT_IN, SIGNALS, SPEC_LENGTH_MAX, Engines, Spec, custom, spec
from epp.domain import Lora, Probe

SGLANG = b"""# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 12.0
# HELP sglang:num_used_tokens The number of used tokens.
sglang:num_used_tokens{model_name="qwen"} 8123.0
# HELP sglang:token_usage The token usage.
sglang:token_usage{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 0.28
sglang:gen_throughput{model_name="qwen"} 86.5
sglang:num_queue_reqs{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 4.0
sglang:num_grammar_queue_reqs{model_name="qwen"} 77.0
sglang:cache_hit_rate{model_name="qwen"} 0.0075
# TYPE sglang:cache_config_info gauge
sglang:cache_config_info{model_name="qwen",page_size="64",num_pages="1250"} 1.0
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{model_name="qwen"} 8.128902e+06
sglang:generation_tokens_total{model_name="qwen"} 7.557572e+06
# TYPE sglang:time_to_first_token_seconds histogram
sglang:time_to_first_token_seconds_bucket{le="0.1",model_name="qwen"} 3.0
sglang:time_to_first_token_seconds_sum{model_name="qwen"} 1.5
sglang:time_to_first_token_seconds_count{model_name="qwen"} 9.0
# TYPE sglang:inter_token_latency_seconds histogram
sglang:inter_token_latency_seconds_bucket{le="0.1",model_name="qwen"} 380.0
sglang:inter_token_latency_seconds_sum{model_name="qwen"} 12.5
sglang:inter_token_latency_seconds_count{model_name="qwen"} 400.0
sglang:cached_tokens_total{cache_source="device",model_name="qwen"} 4000.0
sglang:cached_tokens_total{cache_source="host",model_name="qwen"} 96.0
"""
TRTLLM = b"""# HELP trtllm_request_success_total Count of successfully processed requests.
# TYPE trtllm_request_success_total counter
trtllm_request_success_total{engine_type="trtllm",finished_reason="stop",model_name="llama"} 31.0
trtllm_num_requests_running{engine_type="trtllm",model_name="llama"} 6.0
trtllm_num_requests_waiting{engine_type="trtllm",model_name="llama"} 2.0
trtllm_kv_cache_utilization{engine_type="trtllm",model_name="llama"} 0.5
trtllm_kv_cache_tokens_per_block{engine_type="trtllm",model_name="llama"} 32.0
trtllm_kv_cache_max_blocks{engine_type="trtllm",model_name="llama"} 4096.0
"""
TRITON = b"""# HELP nv_inference_exec_count Number of model executions performed (does not include cached requests)
# TYPE nv_inference_exec_count counter
nv_inference_exec_count{model="ensemble",version="1"} 90210
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="preprocessing",version="1"} 1
nv_inference_pending_request_count{model="tensorrt_llm",version="1"} 7
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.9
"""
TRITON_TRTLLM = (
    TRITON
    + b"""# HELP nv_trt_llm_request_metrics TRT LLM request metrics
# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="context",version="1"} 1
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 5
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 9
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 3
# TYPE nv_trt_llm_kv_cache_block_metrics gauge
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.4875
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per",model="tensorrt_llm",version="1"} 64
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 1
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="free",model="tensorrt_llm",version="1"} 6239
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 6240
"""
)
TEXTS = {
    "sglang": (
        SGLANG,
        {
            "waiting": 4,
            "running": 12,
            "kv_usage": 0.28,
            "block_size": 64,
            "num_blocks": 1250,
            "prompt_tokens": 8128902,
            "generated_tokens": 7557572,
            "cache_queries": 8128902,
            "cache_hits": 4096,
            "decode_seconds": 12.5,
            "decode_tokens": 400,
            "first_tokens": 9,
            "first_token_seconds": 1.5,
        },
    ),
    "trtllm-serve": (
        TRTLLM,
        {"waiting": 2, "running": 6, "kv_usage": 0.5, "block_size": 32, "num_blocks": 4096},
    ),
    "triton": (TRITON, {"waiting": 8}),
    "triton-tensorrt-llm": (
        TRITON_TRTLLM,
        {"waiting": 3, "running": 5, "kv_usage": 0.4875, "block_size": 64, "num_blocks": 6240},
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_each_engine_is_known_by_its_text_and_read(name: str) -> None:
    text, expected = TEXTS[name]
    reading = exposition.read(text, 1.0)

    assert reading.engine.name == name
    assert {s: v for s in SIGNALS if (v := getattr(reading.load, s)) is not None} == expected


@pytest.mark.parametrize("name", TEXTS)
def test_only_what_an_engine_tells_is_found_and_only_what_it_should_tell_is_missing(name: str) -> None:
    text, expected = TEXTS[name]
    probe = exposition.read(text, 1.0).probe()
    cut = text.replace(b"waiting", b"gone").replace(b"num_queue_reqs", b"gone").replace(b"_pending_", b"_gone_")

    assert probe.found.keys() == expected.keys()
    assert probe.missing == {}
    if name != "triton":
        assert list(exposition.read(cut, 1.0).probe().missing) == ["waiting"]


def test_a_whole_vllm_text_is_read_and_its_histograms_are_passed_over() -> None:
    text = vllm(ranks=4)
    reading = exposition.read(text, 1.0)

    assert len(text) > 100_000
    assert reading.engine is engines.VLLM
    assert reading.probe().missing == {}
    assert reading.load.lora == Lora(4)
    assert reading.load.num_blocks == 4 * 26875


@pytest.mark.parametrize("prefix", ["vllm:prefix_cache", "vllm:gpu_prefix_cache"])
def test_the_prefix_cache_is_read_in_its_old_and_its_new_spelling(prefix: str) -> None:
    text = f"vllm:num_requests_waiting 0\n{prefix}_queries_total 100\n{prefix}_hits_total 60\n".encode()
    load = exposition.parse(text, 0.0)

    assert (load.cache_queries, load.cache_hits) == (100, 60)


@pytest.mark.parametrize("name", ["inter_token_latency", "time_per_output_token"])
def test_the_time_between_tokens_is_read_in_its_old_and_its_new_spelling(name: str) -> None:
    name = f"vllm:{name}_seconds"
    text = f'vllm:num_requests_waiting 0\n{name}_bucket{{le="1"}} 9\n{name}_sum 2.5\n{name}_count 100\n'
    load = exposition.parse(text.encode(), 0.0)

    assert (load.decode_seconds, load.decode_tokens) == (2.5, 100)


def lora(value: str, running: str = "", waiting: str = "", most: str = "4") -> str:
    labels = f'max_lora="{most}",running_lora_adapters="{running}",waiting_lora_adapters="{waiting}"'
    return f"vllm:num_requests_waiting 0\nvllm:lora_requests_info{{{labels}}} {value}\n"


def test_the_newest_lora_series_counts_and_lists_are_trimmed() -> None:
    text = lora("1.7e9", "old") + lora("1.8e9", " sql , chat,,", "code ") + lora("NaN", "never")
    load = exposition.parse(text.encode(), 0.0)

    assert load.lora == Lora(4, frozenset({"sql", "chat"}), frozenset({"code"}))


@pytest.mark.parametrize(("most", "expected"), [("4", 4), ("None", None), ("-1", None), ("9" * 50, None)])
def test_a_limit_of_adapters_that_is_no_number_is_unknown(most: str, expected: int | None) -> None:
    load = exposition.parse(lora("1", "a", most=most).encode(), 0.0)

    assert load.lora == Lora(expected, frozenset({"a"}))


def test_no_lora_is_no_fault() -> None:
    reading = exposition.read(b"vllm:num_requests_waiting 0\n", 0.0)

    assert reading.load.lora is None
    assert "lora" not in reading.probe().missing


def test_an_engine_is_known_by_the_newer_label_then_the_older_then_the_default() -> None:
    newer, older = engines.ENGINE_LABELS
    known = Engines.of(default="triton")
    names = [
        known.named(labels)
        for labels in ({newer: "sglang", older: "vllm"}, {newer: "", older: "vllm"}, {}, {newer: "a-new-one"})
    ]

    assert [engine.name if engine else None for engine in names] == ["sglang", "vllm", "triton", None]
    assert Engines.of(label="kind").named({"kind": "vllm", newer: "sglang"}) is engines.VLLM
    assert Engines().named({}) is None


def test_a_wrong_label_does_not_hide_what_the_text_is() -> None:
    reading = exposition.read(SGLANG, 0.0, likely=engines.VLLM)

    assert reading.engine is engines.SGLANG


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vllm:num_requests_waiting", Spec("vllm:num_requests_waiting")),
        ("a{b=c}", Spec("a", (("b", "c"),))),
        (' a { b = c , d = "e f" , } ', Spec("a", (("b", "c"), ("d", "e f")))),
        ('a{d="",b=1}', Spec("a", (("b", "1"), ("d", "")))),
        ("a{}", Spec("a")),
    ],
)
def test_specs_are_read_as_the_go_picker_writes_them(text: str, expected: Spec) -> None:
    assert spec(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1a", "a{b}", "a{b=c", "a b=c}", "a{b=c}x", "a{=c}", "a{b=c d}", "a{b=}", "a\n{b", "x" * 600]
)
def test_specs_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is longer"):
        spec(text)


@given(st.text())
def test_whatever_is_written_as_a_spec_it_is_one_that_can_be_looked_for_or_refused(text: str) -> None:
    try:
        made = spec(text)
    except ValueError:
        return
    one = custom("mine", queued=str(made) if not any(c in v for _, v in made.labels for c in ' ,"={}') else made.family)
    labels = ",".join(f'{name}="{value}"' for name, value in made.labels)
    load = exposition.read(f"{made.family}{{{labels}}} 3\n".encode(), 0.0, one, Engines.of([one])).load

    assert load.waiting == 3


def test_a_configured_engine_is_read_by_its_specs() -> None:
    mine = custom(
        "mine",
        queued="queue_size{kind=prompt}",
        running="active",
        kv_usage="cache{what=used}",
        cache_info="cache_info",
        block_size_label="tokens",
        num_blocks="blocks",
        metrics={"temperature": "gpu_temperature{gpu=1}", "absent": "nothing"},
    )
    text = (
        b'queue_size{kind="prompt"} 3\nqueue_size{kind="image"} 50\nactive 2\ncache{what="used"} 0.25\n'
        b'cache_info{tokens="32"} 1\nblocks 100\ngpu_temperature{gpu="0"} 40\ngpu_temperature{gpu="1"} 60\n'
    )
    reading = exposition.read(text, 1.0, mine, Engines.of([mine]))
    load = reading.load

    assert (load.waiting, load.running, load.kv_usage, load.block_size, load.num_blocks) == (3, 2, 0.25, 32, 100)
    assert load.custom == {"temperature": 60}
    assert reading.probe().missing == {}


def test_a_configured_engine_stands_in_for_the_one_of_its_name_and_keeps_what_it_does_not_say() -> None:
    mine = custom("vllm", queued="vllm:num_requests_waiting{kind=a}")
    known = Engines.of([mine])
    text = b'vllm:num_requests_waiting{kind="a"} 1\nvllm:num_requests_waiting{kind="b"} 9\nvllm:prompt_tokens_total 5\n'

    assert known.named({engines.ENGINE_LABELS[0]: "vllm"}) is mine
    assert [e.name for e in known.known].count("vllm") == 1
    assert exposition.read(text, 0.0, None, known).load.waiting == 1
    assert exposition.read(text, 0.0, None, known).load.prompt_tokens == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name must"),
        ({"name": "a", "running": "{x}"}, "running must be a metric name"),
        ({"name": "a", "metrics": {"k": "b{c}"}}, r"metrics\[k\] 'c' must be label=value"),
        ({"name": "a", "metrics": {str(n): "b" for n in range(33)}}, "metrics must be at most 32"),
    ],
)
def test_a_wrong_engine_is_refused_by_its_argument(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        custom(**arguments)  # type: ignore[arg-type]  # some are mappings


def test_engines_must_have_names_of_their_own_and_the_default_must_be_one() -> None:
    with pytest.raises(ValueError, match="names of their own"):
        Engines.of([custom("a", queued="x"), custom("a", queued="y")])
    with pytest.raises(ValueError, match="default 'b' is none of a, vllm"):
        Engines.of([custom("a", queued="x")], default="b")


def test_an_unknown_text_names_nothing() -> None:
    assert Probe(None).found == {} == Probe(None).missing


_PIECES = [
    *(f"{each}" for engine in BUILT_IN for each in engine.families),
    *(
        '{kv_cache_block_type="',
        'request_type="',
        "waiting",
        "scheduled",
        "max",
        'running_lora_adapters="',
        'max_lora="',
    ),
    *('"', "\\", "{", "}", ",", "=", " ", "\n", "\n", "1", "0.5", "NaN", "-1", "1e999", "# TYPE "),
]


@given(st.lists(st.sampled_from(_PIECES), max_size=60).map("".join))
def test_whatever_the_text_is_every_engine_reads_sane_numbers_from_it(text: str) -> None:
    for engine in BUILT_IN:
        try:
            reading = exposition.read(text.encode(), 0.0, engine)
        except exposition.BadMetrics:
            continue
        load = reading.load
        numbers = (load.waiting, load.running, load.prompt_tokens, load.generated_tokens, load.cache_hits)
        assert all(n is None or (math.isfinite(n) and n >= 0) for n in numbers)
        assert load.kv_usage is None or 0 <= load.kv_usage <= 1
        told = {signal for signal in SIGNALS if getattr(load, signal) is not None}
        assert told <= reading.probe().found.keys()
        assert not reading.probe().found.keys() & reading.probe().missing.keys()


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_the_order_of_the_lines_changes_nothing(seed: int, ranks: int) -> None:
    lines = [line for line in vllm(ranks).splitlines(keepends=True) if not line.startswith(b"#")]
    Random(seed).shuffle(lines)

    assert exposition.parse(b"".join(lines), 0.0) == exposition.parse(vllm(ranks), 0.0)


@pytest.mark.parametrize("text", ["family", "family{label=value}", "family{a=b,c=d}"])
def test_a_spec_is_shown_as_files_write_it(text: str) -> None:
    assert str(spec(text)) == text


@pytest.mark.parametrize(("length", "good"), [(SPEC_LENGTH_MAX, True), (SPEC_LENGTH_MAX + 1, False)])
def test_a_spec_may_be_as_long_as_its_bound(length: int, good: bool) -> None:
    text = "x" * length
    if good:
        assert spec(text).family == text
    else:
        with pytest.raises(ValueError, match="is longer than"):
            spec(text)
