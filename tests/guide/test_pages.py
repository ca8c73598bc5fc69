"""The guide's two pages: the same commands, on files that exist, with one set of versions; and they work as pasted."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.guide.charts import GUIDE, ROOT, objects, versions
from tests.guide.test_manifests import every_yaml
from tests.guide.wiring import guide_wiring
from tests.helm.chart import needs_helm

PAGES = {"en": ROOT / "docs" / "guide.md", "zh": ROOT / "docs" / "guide.zh.md"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (\d+)\. ", re.MULTILINE)


def text(page: str) -> str:
    return PAGES[page].read_text()


def commands(page: str) -> list[str]:
    """What is there to be pasted."""
    return [content for kind, content in FENCE.findall(text(page)) if kind == "bash"]


def section(page: str, number: int) -> str:
    """One step of a page."""
    parts = re.split(HEADING, text(page))
    return parts[parts.index(str(number)) + 1]


def test_both_languages_have_the_same_commands_and_the_same_expected_output() -> None:
    assert commands("en") == commands("zh")
    kinds = {page: [content for kind, content in FENCE.findall(text(page)) if kind == ""][1:] for page in PAGES}
    assert kinds["en"] == kinds["zh"]
    assert HEADING.findall(text("en")) == HEADING.findall(text("zh")) == [str(n) for n in range(1, 17)]


def test_both_languages_have_the_same_rows_in_their_tables() -> None:
    rows = {page: [len(re.findall(r"(?<!\\)\|", line)) for line in text(page).splitlines() if line.startswith("|")]
            for page in PAGES}  # fmt: skip
    code = {page: Counter(re.findall(r"`[^`\n]+`", re.sub(FENCE, "", text(page)))) for page in PAGES}

    assert rows["en"] == rows["zh"]
    assert not {word for word in code["en"] if code["en"][word] > 0} ^ set(code["zh"])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_good_shell(page: str) -> None:
    for block in commands(page):
        ran = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, timeout=10, check=False)
        assert ran.returncode == 0, f"{block}\n{ran.stderr}"
        assert not re.search(r"[‘’“”–]", block)  # noqa: RUF001  # what word processors make of quotes and dashes


@pytest.mark.parametrize("page", PAGES)
def test_every_local_path_exists(page: str) -> None:
    blocks = "\n".join(commands(page))
    paths = set(re.findall(r"(?<![\w/.-])@?((?:helm|docs)/[\w./-]+)", blocks + text(page)))
    links = set(re.findall(r"\]\(([^)#]+)\)", text(page)))

    assert len(paths) > 15
    assert [path for path in sorted(paths) if not (ROOT / path.rstrip(".")).exists()] == []
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_file_of_the_guide_is_on_its_pages() -> None:
    for path in GUIDE.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(GUIDE))
            assert name in text("en") or f"helm/guide/{name}" in text("en"), name


@pytest.mark.parametrize("page", PAGES)
def test_versions_are_those_of_the_file(page: str) -> None:
    pinned = versions()
    shown = set(re.findall(r"(?<![\w.-])v?\d+\.\d+\.\d+(?![\w.-])", section(page, 1)))

    assert shown == set(pinned.values())
    for url in re.findall(r"https://\S+", "\n".join(commands(page))):
        assert re.search(r"\$(\w+_VERSION)", url), url
        assert all(name in pinned for name in re.findall(r"\$(\w+_VERSION)", url))
        assert "/releases/download/" in url
    assert set(re.findall(r"\$\{?(\w+_VERSION)", "\n".join(commands(page)))) <= set(pinned)


def test_namespaces_and_names_in_the_commands_are_those_of_the_manifests() -> None:
    blocks = "\n".join(commands("en"))
    made = {o["metadata"]["name"] for f in ("gateway.yaml", "tenants/gateway.yaml") for o in objects(f)}
    made |= {"istio-system", "default", "vllm-semantic-router-system"}
    used = {name.replace("$team", "blue") for name in re.findall(r"(?:^| )-n ([\w$-]+)", blocks)}

    assert used <= made
    assert {"llm", "gateway", "tenants", "team-blue"} <= used
    gateways = {o["metadata"]["name"] for f in ("gateway.yaml", "tenants/gateway.yaml") for o in objects(f)
                if o["kind"] == "Gateway"}  # fmt: skip
    assert set(re.findall(r"svc/([\w-]+)-istio", blocks)) == gateways
    models = {o["metadata"]["name"] for o in objects("models/simulated.yaml")}
    assert {"llama3-8b", "phi4-mini"} == models == {o["metadata"]["name"] for o in objects("models/vllm.yaml")}
    (cluster,) = list(yaml.safe_load_all((GUIDE / "kind.yaml").read_text()))
    assert f"kind delete cluster --name {cluster['name']}" in blocks


def test_the_commands_in_the_files_are_those_of_the_page() -> None:
    blocks = " ".join("\n".join(commands("en")).split())
    for path in every_yaml():
        comment = "\n".join(line[1:] for line in path.read_text().splitlines() if line.startswith("#"))
        for found in re.findall(r"^   ((?:helm|kubectl|istioctl|kind) (?:.*\\\n)*.*)$", comment, re.MULTILINE):
            command = " ".join(found.replace("\\\n", " ").split()).replace("'", '"')
            if "tenants" not in str(path):
                assert command in blocks.replace("'", '"'), f"{path.name}: {command}"


@needs_helm
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on PATH: the commands are not pasted")
async def test_the_requests_work_as_pasted_and_answer_as_shown(tmp_path: Path) -> None:
    async with guide_wiring("w1", tmp_path) as site:
        for number, (command, shown) in enumerate(_asked(section("en", 8))):
            told = await shell(command, site.port)
            expected = [line for line in shown.splitlines() if line]

            assert len(expected) >= 4
            for line in expected:
                assert line.removesuffix("...").strip() in told, f"request {number}: no {line!r} in {told!r}"

        burst = next(block for block in FENCE.findall(section("en", 9)) if "xargs" in block[1])[1]
        rows = [line.split() for line in (await shell(burst, site.port, tmp_path)).splitlines()]
        spread = {row[3]: int(row[0]) for row in rows}

        assert {tuple(row[1:3]) for row in rows} == {("200", "phi4-mini")}
        assert sum(spread.values()) == 60
        assert len(spread) == 3

        why = next(block for block in FENCE.findall(section("en", 10)) if "why.sh" in block[1])[1]
        told = await shell(why, site.port, tmp_path, _kubectl(tmp_path, site.onehops[0].ports[3]))

        assert '"math"' in told
        assert '"phi4-mini"' in told


def _asked(part: str) -> list[tuple[str, str]]:
    """Each curl command and the output that is shown after it."""
    blocks = FENCE.findall(part)
    return [(one[1], two[1]) for one, two in itertools.pairwise(blocks) if one[0] == "bash" and not two[0]]


def _kubectl(folder: Path, admin_port: int) -> Path:
    """A `kubectl` that knows one pod, and runs what it is to run in it here."""
    path = folder / "bin" / "kubectl"
    path.parent.mkdir()
    path.write_text(
        '#!/bin/sh\nif [ "$1" = get ]; then echo pod/onehop-0; exit; fi\n'
        f'shift 5; exec "$1" "$2" "$3" "$(echo "$4" | sed s/:9091/:{admin_port}/)"\n'
    )
    path.chmod(0o755)
    return path.parent


async def shell(block: str, port: int, folder: Path | None = None, path: Path | None = None) -> str:
    """What a block says, pasted here, with the Gateway at another port."""
    block = block.replace("localhost:8080", f"127.0.0.1:{port}")
    if folder is not None:
        for name in ("helm/guide/requests", "helm/guide/why.sh"):
            block = block.replace(name, str(ROOT / name))
    before = f"PATH={path}:$PATH\n" if path else ""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", "set -o pipefail\n" + before + block,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder or ROOT,
    )  # fmt: skip
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, told.decode()
    return told.decode()
