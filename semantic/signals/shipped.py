"""What the shipped models can be asked for, known without loading them: configurations are checked against it."""

from collections.abc import Mapping

from semantic.categories import CATEGORIES
from semantic.signals.api import DOMAIN

PROVIDES: Mapping[str, tuple[str, ...]] = {DOMAIN: CATEGORIES}
