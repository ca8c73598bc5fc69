"""The time constants, against the figures that they come from."""

import pytest

from benchmarks.simulator.profiles import PROFILES, StepCost, find_profile


def milliseconds(cost: StepCost, tokens: int, *, sequences: int = 1, context: int = 0, pairs: float = 0.0) -> float:
    return 1e3 * cost.seconds(tokens=tokens, sequences=sequences, decode_context=context, prefill_pairs=pairs)


@pytest.mark.parametrize(("gpu", "expected"), [("h100", 7.1), ("a100", 11.3), ("l4", 60.0)])
def test_one_sequence_alone_decodes_at_the_stated_time_per_token(gpu: str, expected: float) -> None:
    assert milliseconds(find_profile("llama3-8b", gpu).cost, 1) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("tokens", "measured"), [(1, 9.8), (128, 13.3), (512, 34.9), (2048, 146.0)])
def test_a100_linear_layers_are_near_the_kernel_profile(tokens: int, measured: float) -> None:
    linear = milliseconds(find_profile("llama3-8b", "a100").cost, tokens, sequences=0) - 1.5

    assert linear == pytest.approx(measured, rel=0.20)


def test_a_full_chunk_on_h100_takes_223_ms() -> None:
    cost = find_profile("llama3-8b", "h100").cost

    assert milliseconds(cost, 8192, pairs=8192**2 / 2) == pytest.approx(223, rel=0.01)


def test_64_sequences_of_2k_context_on_h100_take_16_ms() -> None:
    cost = find_profile("llama3-8b", "h100").cost

    assert milliseconds(cost, 64, sequences=64, context=64 * 2048) == pytest.approx(16, rel=0.03)


@pytest.mark.parametrize("gpu", ["h100", "a100", "l4"])
def test_the_smaller_model_is_faster_and_leaves_more_cache(gpu: str) -> None:
    llama, phi = find_profile("llama3-8b", gpu), find_profile("phi4-mini", gpu)

    assert 0.4 < milliseconds(phi.cost, 2048) / milliseconds(llama.cost, 2048) < 0.55
    assert phi.kv_tokens - llama.kv_tokens == pytest.approx(64_000, rel=0.01)


def test_a_derived_model_prefills_as_fast_as_llm_d_has_calibrated_it() -> None:
    cost = find_profile("qwen3-32b", "h100x2").cost

    assert 8192 / milliseconds(cost, 8192, pairs=8192**2 / 2) * 1e3 == pytest.approx(15_928, rel=0.01)


@pytest.mark.parametrize(
    ("model", "gpu", "measured"),
    [("phi4-mini", "h100", 80.726), ("phi3-mini", "h100", 91.125), ("llama3-70b", "h100x4", 421.155)],
)
def test_shapes_scale_the_products_as_they_were_measured(model: str, gpu: str, measured: float) -> None:
    # Of 8,192 tokens on one H200 (`benchmarks/results/replica.md`), where Llama-3-8B's took 170.846 ms.
    derived, llama = find_profile(model, gpu).cost.matmul_ms, find_profile("llama3-8b", "h100").cost.matmul_ms

    assert derived / llama == pytest.approx(measured / 170.846, rel=0.03)


def test_each_gpu_of_several_holds_its_part() -> None:
    whole, single = find_profile("llama3-70b", "h100x4"), find_profile("llama3-8b", "h100")
    spared = 4 * (single.kv_tokens * 131_072 + 2 * 8.03e9) - 2 * 70.6e9

    assert whole.gpus == 4
    assert whole.kv_tokens == pytest.approx(spared / 327_680, abs=1)
    assert whole.cost.attention_flop_per_pair == 4 * 80 * 8192 / 4


@pytest.mark.parametrize("model", list(PROFILES))
def test_better_gpus_are_faster(model: str) -> None:
    best_first = sorted(PROFILES[model], key=["h100", "a100", "l4", "h100x2", "a100x2", "h100x4", "a100x4"].index)
    for tokens in (1, 500, 2048):
        times = [milliseconds(find_profile(model, gpu).cost, tokens) for gpu in best_first]
        assert times == sorted(times)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there are llama3-8b, phi4-mini"):
        find_profile("gpt", "h100")
    with pytest.raises(ValueError, match="there are h100, a100, l4"):
        find_profile("llama3-8b", "tpu")
