"""Our HTTP/2 under h2spec; run by `make test-http2`, and skipped where ONEHOP_H2SPEC does not name the program."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from epp.edge import tls
from tests.edge.http2.site import serving

H2SPEC = os.environ.get("ONEHOP_H2SPEC", "")
# h2spec asks with GET for a page, which no gRPC server has: we answer with 405 and a line of text.
NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]|&#x?[0-9a-fA-F]+;")

pytestmark = pytest.mark.skipif(not H2SPEC, reason="make test-http2 builds it and says where it is")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("secure", [False, True])
async def test_we_conform(tmp_path: Path, secure: bool) -> None:
    pair = tls.self_signed([])
    options = {"contexts": tls.Contexts(lambda: pair)} if secure else {}
    report = tmp_path / "report.xml"
    async with serving(streams_max=100, connections_max=1000, **options) as site:
        flags = ["-t", "-k"] if secure else []
        command = [H2SPEC, "-h", "127.0.0.1", "-p", str(site.server.port), "-o", "3", "-j", str(report), *flags]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
    text = NO_XML.sub("?", report.read_text(errors="replace"))  # it quotes what it got as it is
    cases = list(ElementTree.fromstring(text).iter("testcase"))
    failed = {case.get("classname", "") for case in cases if case.find("failure") is not None}
    failed |= {case.get("classname", "") for case in cases if case.find("error") is not None}
    counted = re.search(rb"(\d+) tests, (\d+) passed", out)

    assert counted is not None
    assert int(counted[1]) >= 140
    assert not failed, out.decode()
