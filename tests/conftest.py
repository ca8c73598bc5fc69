"""Properties are tried as long as they take: on a crowded machine every bound on wall time fails by luck.

Where time itself matters, the clock is put forward.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, settings

from tests.clock import Later

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Everybody's clock from here on, the event loop's too."""
    clock = Later()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock
