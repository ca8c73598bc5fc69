"""Commands, flags, files and targets that the pages name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from epp.__main__ import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "README.md", *(p for part in ("docs", "benchmarks", "helm", "tests") for p in
                                       (ROOT / part).rglob("*.md")))
)  # fmt: skip
PARTS = "epp|benchmarks|docs|helm|tests|semantic|protos"
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
FOREIGN = {  # kubectl, helm, istioctl, kind, SGLang
    "--all", "--client", "--config", "--enable-metrics-for-all-schedulers", "--for", "--from-literal",
    "--ignore-not-found", "--name", "--purge", "--remote", "--reuse-values", "--short", "--sort-by", "--tail",
    "--take-ownership", "--wait",
}  # fmt: skip


def text(page: Path) -> str:
    """With continued lines in one."""
    return (ROOT / page).read_text().replace("\\\n", " ")


@cache
def source() -> str:
    """All of our code."""
    return "\n".join(path.read_text() for part in PARTS.split("|") for path in sorted((ROOT / part).rglob("*.py")))


def help_of(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """What `onehop WORDS --help` prints."""
    with pytest.raises(SystemExit) as ended:
        import_module(COMMANDS[words[0]]).run([*words[1:], "--help"])
    assert not ended.value.code
    return capsys.readouterr().out


def commands(page: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each `onehop COMMAND ...` of a page, up to the end of its line, its code or its comment."""
    for name, rest in re.findall(r"(?<![\w/-])onehop ([a-z]+)\b([^`\n|]*)", text(page)):
        if name in COMMANDS:
            more = re.match(r" ([a-z]+)", rest) if name == "bench" else None
            yield (name, more[1]) if more else (name,), rest.partition(" #")[0]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_flag_is_one_of_ours_or_known_to_be_anothers(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = set(re.findall(r'"(--[a-z0-9-]+)"', source())) | set(FLAG.findall(help_of(("serve",), capsys)))
    named = set(FLAG.findall(text(page)))
    if page.parent.name == "models":  # the training's flags are made of tuples of their names
        ours |= {f"--{name}" for name in re.findall(r'"(\w+)"', source())}

    assert named - ours - FOREIGN == set()


def test_every_flag_of_a_command_is_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    helps: dict[tuple[str, ...], set[str]] = {}
    wrong, seen = [], 0
    for page in PAGES:
        for words, rest in commands(page):
            if words not in helps:
                helps[words] = set(FLAG.findall(help_of(words, capsys)))
            flags = set(FLAG.findall(rest))
            seen += len(flags)
            wrong += [f"{page}: onehop {' '.join(words)} {flag}" for flag in flags - helps[words]]

    assert wrong == []
    assert seen > 80
    assert len(helps) >= 12


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_is_there(page: Path) -> None:
    content = text(page)
    linked = {link for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", content) if "://" not in link}
    named = {path.rstrip(".") for path in re.findall(rf"(?<![\w/.-])((?:{PARTS})/[\w./-]+)", content)}

    assert [link for link in sorted(linked) if not (ROOT / page.parent / link).exists()] == []
    assert [path for path in sorted(named) if not ((ROOT / path).exists() or (ROOT / f"{path}.py").exists())] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_heading_that_is_linked_is_there(page: Path) -> None:
    for link, heading in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", text(page)):
        if "://" in link:
            continue
        target = ROOT / page.parent / link if link else ROOT / page
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert heading in {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in headings}, link


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_module_and_target_can_be_run(page: Path) -> None:
    content = text(page)
    modules = {name for name in re.findall(r"python3? -m ([\w.]+)", content) if re.match(rf"({PARTS})\b", name)}
    targets = set(re.findall(r"(?:^|`|\$ )make ([a-z][\w-]*)", content, re.MULTILINE))
    there = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    assert targets <= there
