"""What a model folder says of itself in meta.json: labels, temperatures, thresholds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.reading import ConfigError
from semantic.signals.pii import PiiSettings

SHIPPED = Path(__file__).parent.parent / "models" / "heads"


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """One head of the encoder."""

    labels: tuple[str, ...]
    temperature: float
    threshold: float
    """Below this confidence the head abstains."""
    sure: float
    """From this confidence of tier 0 on, the encoder is not asked."""
    blend: float = 0.0
    """How much tier 0's log probabilities count beside the encoder's own, where the encoder answers."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All heads in the order of the encoder's output, and what surrounds them."""

    encoder: Mapping[str, HeadSettings]
    tier0_temperatures: Mapping[str, float]
    pii: PiiSettings
    names_sure: float
    """Probability of names from which on the encoder is asked for personal data."""
    language_threshold: float
    english_min: float
    """Below this probability of English, what only English was trained on abstains."""
    risk_threshold: float
    """From this probability of injection and jailbreak together on, safety is acted upon: 5 % false alarms."""

    @property
    def attacks(self) -> tuple[int, ...]:
        """Places of the labels of the safety head that are attacks."""
        labels = self.encoder["safety"].labels
        return labels.index("injection"), labels.index("jailbreak")

    @property
    def computer_science(self) -> int:
        """The place of that category among those of the domain head."""
        return self.encoder["domain"].labels.index("computer science")

    def risk(self, likely: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The probability of an attack (injection or jailbreak), for rows of the safety head."""
        injection, jailbreak = self.attacks
        return np.asarray(likely[..., injection] + likely[..., jailbreak])


def read_settings(folder: Path) -> Settings:
    """The settings of a folder; ConfigError names what is missing."""
    path = folder / "meta.json"
    try:
        meta: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise ConfigError(str(path), "the model folder has no meta.json") from missing
    except ValueError as broken:
        raise ConfigError(str(path), f"is not JSON: {broken}") from broken
    try:
        return Settings(
            {
                name: HeadSettings(
                    tuple(head["labels"]), head["temperature"], head["threshold"], head["sure"], head["blend"]
                )
                for name, head in meta["heads"].items()
            },
            dict(meta["tier0_temperatures"]),
            PiiSettings(
                tuple(meta["pii"]["tags"]), meta["pii"]["threshold"], frozenset(meta["pii"]["left_to_detectors"])
            ),
            meta["pii"]["names_sure"],
            meta["language"]["threshold"],
            meta["language"]["english_min"],
            meta["risk_threshold"],
        )
    except KeyError as missing:
        raise ConfigError(f"{path}: {missing.args[0]}", "is missing") from missing
    except (TypeError, AttributeError) as wrong:
        raise ConfigError(str(path), f"is not of the right shape: {wrong}") from wrong
