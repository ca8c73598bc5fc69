"""Metrics texts, good, odd and bad, and what is made of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.datastore import exposition
from epp.datastore.exposition import BadMetrics
from epp.domain import Load

VLLM = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama3-8b"} 7.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="llama3-8b"} 3.0
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 99.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="llama3-8b"} 0.25
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",num_gpu_blocks="27449",num_gpu_blocks_override="5"} 1.0
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="llama3-8b"} 123456.0
"""

WAITING = b"vllm:num_requests_waiting"


def test_the_numbers_of_a_vllm_are_read() -> None:
    load = exposition.parse(VLLM, 12.5)

    assert load == Load(
        at=12.5, waiting=3.0, running=7.0, kv_usage=0.25, block_size=16, num_blocks=27449, prompt_tokens=123456.0
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"vllm:num_requests_waiting 4\n", {"waiting": 4.0}),
        (b"vllm:num_requests_waiting{} 4\n", {"waiting": 4.0}),
        (b'vllm:num_requests_waiting {a="b"} 4\n', {"waiting": 4.0}),
        (b'vllm:num_requests_waiting{a="b",}\t4\n', {"waiting": 4.0}),
        (b"vllm:num_requests_waiting 4.0e+00 1700000000000\n", {"waiting": 4.0}),
        (b'vllm:num_requests_waiting 4 # {trace_id="abc"} 0.67 1700000000\n', {"waiting": 4.0}),
        (b"vllm:num_requests_running 1\r\nvllm:num_requests_waiting 4\r\n", {"waiting": 4.0, "running": 1.0}),
        (b'vllm:num_requests_waiting{m="a}b\\"c\\\\",n="{"} 4\n', {"waiting": 4.0}),
        (b'vllm:num_requests_waiting{e="0"} 4\nvllm:num_requests_waiting{e="1"} 5\n', {"waiting": 9.0}),
        (b'vllm:num_requests_waiting{e="0"} NaN\nvllm:num_requests_waiting{e="1"} 5\n', {"waiting": 5.0}),
        (b'vllm:kv_cache_usage_perc{e="0"} 0.1\nvllm:kv_cache_usage_perc{e="1"} 0.7\n', {"kv_usage": 0.7}),
        (b"vllm:gpu_cache_usage_perc 0.4\n", {"kv_usage": 0.4}),
        (b"vllm:gpu_cache_usage_perc 0.4\nvllm:kv_cache_usage_perc 0.5\n", {"kv_usage": 0.5}),
        (b"vllm:gpu_cache_usage_perc 0.4\nvllm:kv_cache_usage_perc NaN\n", {"kv_usage": 0.4}),
        (b"vllm:kv_cache_usage_perc 1.0000001\n", {"kv_usage": 1.0}),
        (b"vllm:num_requests_waiting NaN\n", {}),
        (b"vllm:num_requests_waiting +Inf\n", {}),
        (b"vllm:num_requests_waiting -Inf\n", {}),
        (b"vllm:num_requests_waiting 1e999\n", {}),
        (b"vllm:num_requests_waiting 1e308\nvllm:num_requests_waiting 1e308\n", {}),
        (b"vllm:num_requests_waiting -1\n", {}),
        (b"vllm:num_requests_running 1\nvllm:num_requests_waiting 12", {"running": 1.0}),
        (b'vllm:num_requests_running 1\nvllm:num_requests_waiting{a="b', {"running": 1.0}),
        (b"# vllm:num_requests_waiting 4\nvllm:num_requests_running 1\n", {"running": 1.0}),
        (b"xvllm:num_requests_waiting 4\nvllm:num_requests_running 1\n", {"running": 1.0}),
        (b'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1\n', {"block_size": 16}),
        (b'vllm:cache_config_info{num_gpu_blocks_override="9"} 1\n', {}),
        (b'vllm:cache_config_info{other="\\",block_size=\\"7"} 1\n', {}),
        (b'vllm:cache_config_info{block_size="0",num_gpu_blocks="0"} 1\n', {}),
        (b'vllm:cache_config_info{num_gpu_blocks="' + b"9" * 5000 + b'"} 1\n', {}),
        (
            b'vllm:cache_config_info{engine="0",block_size="16",num_gpu_blocks="100"} 1\n'
            b'vllm:cache_config_info{engine="1",block_size="16",num_gpu_blocks="101"} 1\n',
            {"block_size": 16, "num_blocks": 201},
        ),
        (
            b'vllm:cache_config_info{engine="0",block_size="16",num_gpu_blocks="100"} 1\n'
            b'vllm:cache_config_info{engine="1",block_size="32",num_gpu_blocks="100"} 1\n',
            {"block_size": 32, "num_blocks": 200},
        ),
    ],
)
def test_odd_but_valid_texts(text: bytes, expected: dict[str, float]) -> None:
    assert exposition.parse(text, 1.0) == Load(at=1.0, **expected)  # type: ignore[arg-type]  # counts are whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the answer is empty"),
        (b" \r\n\n", "the answer is empty"),
        (b"<!DOCTYPE html><html>", "the answer is a web page, not metrics; is this the port of a model server?"),
        (b"\n <html>vllm:x</html>\n", "the answer is a web page, not metrics; is this the port of a model server?"),
        (b'{"detail":"Not Found"}', "no metrics in 22 bytes; is this the port of a model server?"),
        (b"\xff\x00\x1f\x8b", "no metrics in 4 bytes; is this the port of a model server?"),
        (
            b"# TYPE up gauge\nup 1\n" * 12,
            (
                "no series of vllm, sglang, trtllm-serve, triton-tensorrt-llm, triton among 12 families; "
                "is this a model server?"
            ),
        ),
        (
            b"# TYPE vllm:queue gauge\nvllm:queue 1\n",
            "none of vllm:num_requests_waiting, vllm:num_requests_running, vllm:kv_cache_usage_perc, "
            "vllm:gpu_cache_usage_perc, vllm:cache_config_info among 1 families; "
            "is this version of the model server known to us?",
        ),
        (b"vllm:num_requests_waiting 12", "no metrics in 28 bytes; is this the port of a model server?"),
        (b"vllm:num_requests_waiting four\n", "vllm:num_requests_waiting: 'four' is not a number"),
        (b"vllm:num_requests_waiting 1_0\n", "vllm:num_requests_waiting: '1_0' is not a number"),
        (b"vllm:num_requests_waiting \xff\n", r"vllm:num_requests_waiting: '\\xff' is not a number"),
        (b'vllm:num_requests_waiting{a="b} 1\n', "vllm:num_requests_waiting: '{a=\"b}' is not a number"),
        (b"vllm:num_requests_waiting " + b"x" * 99 + b"\n", f"vllm:num_requests_waiting: '{'x' * 40}' is not a number"),
    ],
)
def test_bad_texts_say_what_they_are(text: bytes, message: str) -> None:
    with pytest.raises(BadMetrics) as caught:
        exposition.parse(text, 1.0)

    assert str(caught.value) == message


def test_every_cut_of_a_text_gives_a_load_with_whole_numbers_or_says_why_not() -> None:
    whole = exposition.parse(VLLM, 0.0)

    for end in range(len(VLLM)):
        try:
            load = exposition.parse(VLLM[:end], 0.0)
        except BadMetrics:
            continue
        assert load.running in (None, whole.running)
        assert load.waiting in (None, whole.waiting)
        assert load.kv_usage in (None, whole.kv_usage)
        assert load.num_blocks in (None, whole.num_blocks)


_NAMES = [
    WAITING,
    b"vllm:kv_cache_usage_perc",
    b"vllm:cache_config_info",
    b"block_size=",
    b"num_gpu_blocks=",
    b"# TYPE ",
]
_MARKS = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b",",
    b"=",
    b" ",
    b"\n",
    b"\r\n",
    b"\t",
    b"\xff",
    b"1",
    b"9" * 400,
    b"NaN",
    b"-",
    b"e",
]
_TEXTS = st.lists(st.sampled_from(_NAMES + _MARKS), max_size=40).map(b"".join)


@given(st.one_of(st.binary(), _TEXTS))
def test_whatever_the_bytes_are_the_numbers_are_sane(text: bytes) -> None:
    try:
        load = exposition.parse(text, 0.0)
    except BadMetrics:
        return
    assert all(v is None or (math.isfinite(v) and v >= 0) for v in (load.waiting, load.running))
    assert load.kv_usage is None or 0 <= load.kv_usage <= 1
    assert all(v is None or v > 0 for v in (load.block_size, load.num_blocks))


def test_tokens_are_counted_over_all_ranks_and_are_no_load_by_themselves() -> None:
    tokens = b'vllm:prompt_tokens_total{rank="0"} 100\nvllm:prompt_tokens_total{rank="1"} 20\n'
    both = exposition.parse(tokens + b"vllm:num_requests_waiting 1\nvllm:generation_tokens_total 7\n", 0.0)

    assert (both.prompt_tokens, both.generated_tokens) == (120, 7)
    with pytest.raises(exposition.BadMetrics, match="is this the port of a model server"):
        exposition.parse(tokens, 0.0)


def test_a_series_is_found_that_is_there_and_a_label_only_if_it_has_a_number() -> None:
    text = b'vllm:num_requests_waiting NaN\nvllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1\n'
    found = dict(exposition.read(text, 1.0).series)

    assert found == {"waiting": "vllm:num_requests_waiting", "block_size": "vllm:cache_config_info"}
