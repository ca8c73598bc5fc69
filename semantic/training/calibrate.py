"""One number that makes confidences mean what they say, and what a threshold on them keeps and gets right."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def probabilities(logits: Array, temperature: float) -> Array:
    """Softmax of the logits over the temperature."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def temperature(parts: Sequence[tuple[Array, Labels]]) -> float:
    """The temperature with the least log loss over (logits, labels) of several sets, each counted alike."""

    def loss(value: float) -> float:
        return sum(_log_loss(probabilities(logits, value), labels) for logits, labels in parts)

    return min((n / 50 for n in range(15, 151)), key=loss)


def _log_loss(likely: Array, labels: Labels) -> float:
    return float(-np.log(np.maximum(likely[np.arange(len(labels)), labels], 1e-9)).mean())


def calibration_error(likely: Array, labels: Labels, bins: int = 10) -> float:
    """Expected calibration error: how far confidence is from accuracy, over equal bins of confidence."""
    confidence, right = likely.max(axis=1), likely.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[bin_of == n].mean() - right[bin_of == n].mean()) * (bin_of == n).mean() for n in set(bin_of)]
    return float(sum(gaps))


def kept_and_right(likely: Array, labels: Labels) -> Iterable[tuple[float, float, float]]:
    """For each threshold: (threshold, share of rows at or above it, accuracy among them)."""
    confidence, right = likely.max(axis=1), likely.argmax(axis=1) == labels
    for threshold in THRESHOLDS:
        kept = confidence >= threshold
        yield threshold, float(kept.mean()), float(right[kept].mean())
