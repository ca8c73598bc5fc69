"""`docs/protocol-cases.md` says what is tested here, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = (HERE.parent.parent / "docs" / "protocol-cases.md").read_text()
TESTS = set(
    re.findall(r"^async def (test_\w+)", "\n".join(f.read_text() for f in HERE.glob("test_*.py")), re.MULTILINE)
)
ROWS = re.findall(r"^\| (\d+) \| [^|]+ \| (tested|waits|gap)(:[^|]+)? \| ([^|]*)\|$", DOCUMENT, re.MULTILINE)


def test_every_case_has_one_row() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 91))


def test_what_the_document_calls_tested_is_tested_and_nothing_else_is() -> None:
    documented = {int(n): set(re.findall(r"`(\w+)`", tests)) for n, _, _, tests in ROWS}
    existing = {n: {test for test in TESTS if test.startswith(f"test_case_{n:02}_")} for n in range(1, 91)}

    assert documented == existing
    assert {int(n) for n, status, _, _ in ROWS if status == "tested"} == {n for n, tests in existing.items() if tests}


def test_what_waits_and_what_is_missing_says_why() -> None:
    assert [number for number, status, why, _ in ROWS if status != "tested" and len(why.strip(": ")) < 10] == []


def test_every_test_that_the_document_names_exists() -> None:
    assert set(re.findall(r"`(test_\w+)`", DOCUMENT)) <= TESTS
