"""The Envoy configurations of the guide on every Envoy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.guide.load import one_is_killed
from tests.guide.site import chat
from tests.guide.test_envoy_files import FILES, config, demo_tokens, site_of
from tests.matrix.test_wirings import BINARIES, MATH

CONFIGURATIONS = sorted(path for path in FILES.glob("*.yaml") if path.name != "endpoints.yaml")


@pytest.mark.parametrize("version", BINARIES)
@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_envoy_accepts_it(path: Path, version: str) -> None:
    command = [BINARIES[version], "--mode", "validate", "-c", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.mark.parametrize("version", BINARIES)
async def test_one_of_two_onehops_is_killed_under_load_and_no_request_fails(tmp_path: Path, version: str) -> None:
    async with site_of(tmp_path, config("several-onehops.yaml"), 2, BINARIES[version]) as site:
        await one_is_killed(site)


@pytest.mark.parametrize("version", BINARIES)
async def test_a_tenants_rate(tmp_path: Path, version: str) -> None:
    async with site_of(tmp_path, config("rate-limit.yaml"), 1, BINARIES[version]) as site:
        bearer = {name: f"Bearer {token}" for name, token in demo_tokens().items()}
        green = [await site.ask(chat("auto", MATH), authorization=bearer["green"], x_tenant="blue") for _ in range(7)]
        blue = await site.ask(chat("auto", MATH), authorization=bearer["blue"])

        assert [answer.status for answer in (*green, blue)] == [200] * 5 + [429] * 2 + [200]
        assert green[-1].json["error"]["code"] == "rate_limit_exceeded"
        assert green[-1].headers["retry-after"] == "12"
