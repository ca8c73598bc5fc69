"""Pure parts of the server: prompts to tokens and hashes, answers to bytes, metrics to text."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.simulator.answer import Answer, draw_output_tokens, write_text
from benchmarks.simulator.exposition import expose
from benchmarks.simulator.openai import ApiError, Ask, parse_chat, parse_completion
from benchmarks.simulator.prompt import hash_blocks, tokens_of
from tests.simulator import make


def chat(*turns: tuple[str, str], **extra: object) -> Ask:
    messages = [{"role": role, "content": content} for role, content in turns]
    return parse_chat(json.dumps({"model": "m", "messages": messages, **extra}).encode())


def test_four_bytes_are_a_token() -> None:
    assert parse_completion(b'{"prompt": "12345678"}').prompt_tokens == 2
    assert parse_completion(b'{"prompt": "123456789"}').prompt_tokens == 3
    assert parse_completion(b'{"prompt": [1, 2, 3, 4]}').prompt_tokens == 4


def test_the_next_turn_begins_with_the_tokens_of_prompt_and_answer() -> None:
    first = chat(("user", "hello, you"))
    answer = write_text("m", 50)

    second = chat(("user", "hello, you"), ("assistant", answer.decode()), ("user", "go on"))

    assert second.prompt.startswith(first.prompt + answer)


def test_text_parts_are_the_same_tokens_as_plain_text() -> None:
    parts = parse_chat(b'{"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}')

    assert parts.prompt == chat(("user", "hi")).prompt


def test_tokens_are_numbers_that_agree_as_far_as_the_text_does() -> None:
    ours, theirs = tokens_of(chat(("user", "hello you")).prompt), tokens_of(chat(("user", "hello, you")).prompt)

    assert len(ours) == chat(("user", "hello you")).prompt_tokens
    assert ours[:3] == theirs[:3]
    assert ours != theirs
    assert all(0 <= number < 2**31 for number in ours)


def test_hashes_agree_up_to_the_first_difference() -> None:
    ours, theirs = hash_blocks(b"a" * 640, 16, ""), hash_blocks(b"a" * 300 + b"b" * 340, 16, "")

    assert len(ours) == 10
    assert [i for i in range(10) if ours[i] == theirs[i]] == [0, 1, 2, 3]
    assert not set(ours) & set(hash_blocks(b"a" * 640, 16, "adapter"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"messages": ', "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `messages`"),
        (b'{"messages": "hi"}', "Expected `array`"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "utf-8"),
        (b'{"messages": [], "max_tokens": 0}', "max_tokens must be at least 1"),
        (b'{"messages": [], "n": 2}', "n must be 1"),
    ],
)
def test_a_bad_body_is_a_400_that_says_why(body: bytes, expected: str) -> None:
    with pytest.raises(ApiError, match=expected) as caught:
        parse_chat(body)

    assert caught.value.status == caught.value.body["error"]["code"] == 400


def test_a_limit_cuts_the_answer_and_says_length() -> None:
    free = draw_output_tokens(chat(("user", "x")), 1000, 150, seed=1)
    cut = draw_output_tokens(chat(("user", "x"), max_tokens=3), 1000, 150, seed=1)
    exact = draw_output_tokens(chat(("user", "x"), max_tokens=700, ignore_eos=True), 1000, 150, seed=1)

    assert free[0] > 3
    assert free[1] == "stop"
    assert cut == (3, "length")
    assert exact == (700, "length")


def test_lengths_depend_on_prompt_and_seed_only() -> None:
    lengths = {
        seed: [draw_output_tokens(chat(("user", str(i))), 9999, 150, seed)[0] for i in range(50)] for seed in (1, 2)
    }

    assert lengths[1] == [draw_output_tokens(chat(("user", str(i))), 9999, 150, 1)[0] for i in range(50)]
    assert lengths[1] != lengths[2]
    assert 90 < sorted(lengths[1])[25] < 250


@pytest.mark.parametrize("tokens", [1, 3, 7, 40, 500])
def test_text_has_exactly_its_tokens(tokens: int) -> None:
    assert len(write_text("llama3-8b", tokens)) == 4 * tokens


@pytest.mark.parametrize("is_chat", [True, False])
@pytest.mark.parametrize("cuts", [[0, 9], [0, 1, 2, 9], [0, 8, 9]])
def test_events_say_the_text_however_they_are_grouped(is_chat: bool, cuts: list[int]) -> None:
    ask = replace(chat(("user", "x")), chat=is_chat, include_usage=True)
    answer = Answer(ask, write_text("m", 9), answer_id="1", created=0, model="m", finish_reason="stop")

    events = b"".join(answer.events(a, b, 0) for a, b in pairwise(cuts)).decode().split("\n\n")

    assert events[-2:] == ["data: [DONE]", ""]
    *chunks, usage = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    choices = [chunk["choices"][0] for chunk in chunks]
    texts = [choice["delta"]["content"] if is_chat else choice["text"] for choice in choices]
    assert "".join(texts) == write_text("m", 9).decode()
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 9


def test_histograms_are_cumulative_and_labels_are_vllms() -> None:
    run = make.Run(make.replica(kv_blocks=50, adapters_max=2))
    run.submit(make.job(prompt=100, output=10, adapter="x"))
    run.step()

    lines = expose(run.replica, 'a"b', 2, 1.0, 2.0).splitlines()

    labels = r'model_name="a\"b",engine="0"'
    assert f"vllm:num_requests_running{{{labels}}} 1.0" in lines
    assert f"vllm:kv_cache_usage_perc{{{labels}}} 0.14" in lines
    assert f"vllm:prompt_tokens_total{{{labels}}} 100.0" in lines
    assert f'vllm:time_to_first_token_seconds_bucket{{{labels},le="0.08"}} 0.0' in lines
    assert f'vllm:time_to_first_token_seconds_bucket{{{labels},le="0.25"}} 1.0' in lines
    assert f'vllm:time_to_first_token_seconds_bucket{{{labels},le="+Inf"}} 1.0' in lines
    assert (
        'vllm:cache_config_info{block_size="16",enable_prefix_caching="True",num_gpu_blocks="50",engine="0"} 1.0'
        in lines
    )
    assert 'vllm:lora_requests_info{max_lora="2",running_lora_adapters="x",waiting_lora_adapters=""} 2.0' in lines
    assert "# TYPE vllm:num_preemptions_total counter" in lines
    assert "# TYPE vllm:inter_token_latency_seconds histogram" in lines


def test_the_official_parser_reads_the_metrics() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    families = {
        family.name: family for family in text_string_to_metric_families(expose(make.replica(), "m", None, 1.0, 2.0))
    }

    assert families["vllm:prefix_cache_hits"].type == "counter"
    assert families["vllm:e2e_request_latency_seconds"].type == "histogram"
    assert "vllm:lora_requests_info" not in families
