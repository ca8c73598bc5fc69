"""h2load, nghttp2's load generator, against our HTTP/2: `make test-http2`; skipped where it is not on PATH."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from epp.edge import tls
from tests.edge.http2.peer import PATH, message
from tests.edge.http2.site import serving

H2LOAD = shutil.which("h2load")

pytestmark = pytest.mark.skipif(H2LOAD is None, reason="h2load (Debian: nghttp2-client) is not on PATH")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("secure", "size", "count", "flags"),
    [
        (False, 100, 5_000, ["-c", "8", "-m", "100"]),
        (True, 100, 2_000, ["-c", "8", "-m", "100"]),
        (False, 1 << 20, 40, ["-c", "4", "-m", "10"]),
        (True, 1 << 20, 40, ["-c", "4", "-m", "10", "-w", "16", "-W", "16"]),  # windows of 64 KiB
        (False, 50_000, 200, ["-c", "2", "-m", "50", "-w", "12", "-W", "14"]),  # of 4 and 16
    ],
)
async def test_every_stream_is_answered_whole(
    tmp_path: Path, secure: bool, size: int, count: int, flags: list[str]
) -> None:
    """A call for each, of one message that comes back."""
    body = tmp_path / "body"
    body.write_bytes(message(bytes(size)))
    pair = tls.self_signed([])
    parts = {"contexts": tls.Contexts(lambda: pair)} if secure else {}
    async with serving(**parts) as site:
        url = f"http{'s' if secure else ''}://127.0.0.1:{site.server.port}{PATH}"
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        command = [str(H2LOAD), "-n", str(count), *flags, "-d", str(body), *headers, url]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        breaches = site.counts.breaches
    told = out.decode()
    data = re.search(r"traffic: .* \((\d+)\) data", told)

    assert process.returncode == 0
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in told
    assert f"status codes: {count} 2xx" in told
    assert data is not None
    assert int(data[1]) == count * (size + 5)
    assert Counter(site.ended) == {"ended": count}
    assert breaches == {}
