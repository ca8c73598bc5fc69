"""What the pickers share about destinations with more than one endpoint."""

from __future__ import annotations

ENDPOINTS_MAX = 9  # of one destination: the chosen one and the most that `--fallback-endpoints` takes


def check_number(of: int) -> None:
    """How many endpoints a picker may name. Raises ValueError."""
    if not 1 <= of <= ENDPOINTS_MAX:
        raise ValueError(f"max_num_of_endpoints must be from 1 to {ENDPOINTS_MAX}")


def list_note(number: int) -> list[str]:
    """What to know about a list."""
    if number == 1:
        return []
    return [f"a destination is a list of up to {number} endpoints, which agentgateway refuses: it takes exactly one"]
