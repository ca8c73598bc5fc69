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


@pytest.mark.parametrize("model", list(PROFILES))
def test_better_gpus_are_faster(model: str) -> None:
    for tokens in (1, 500, 2048):
        times = [milliseconds(find_profile(model, gpu).cost, tokens) for gpu in ("h100", "a100", "l4")]
        assert times == sorted(times)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there are llama3-8b, phi4-mini"):
        find_profile("gpt", "h100")
    with pytest.raises(ValueError, match="there are h100, a100, l4"):
        find_profile("llama3-8b", "tpu")
