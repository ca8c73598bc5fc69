"""`onehop classify`: rows in, rows out, and what a bad row says."""

import io
import json
from pathlib import Path

import pytest

from semantic.categories import CATEGORIES
from semantic.cli import run_classify
from semantic.signals.engine import Ask


def write(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_rows_come_out_in_order_in_the_shape_of_the_interface(tmp_path: Path) -> None:
    texts = ["What is 2+2 * (5-1)?", "can my landlord evict me without notice", "x" * 50_000, *["hello"] * 20]
    path = write(tmp_path / "rows.jsonl", *(json.dumps({"text": text, "id": 1}) for text in texts))
    out = io.StringIO()
    status = run_classify(path, "auto", out)
    rows = [json.loads(line) for line in out.getvalue().splitlines()]

    assert status == 0
    assert [row["domain"]["label"] for row in rows[:2]] == ["math", "law"]
    assert len(rows) == len(texts)
    assert set(rows[0]["domain"]) == {"label", "probabilities", "abstained", "tier"}
    assert set(rows[0]["domain"]["probabilities"]) == set(CATEGORIES)
    assert rows[0]["coverage"] == {"scanned_bytes": 20, "total_bytes": 20}
    assert rows[2]["coverage"] == {"scanned_bytes": 50_000, "total_bytes": 50_000}
    assert set(rows[0]) == {"domain", "safety", "difficulty", "code", "language", "pii", "coverage"}
    assert set(rows[0]["safety"]["probabilities"]) == {"benign", "harmful", "injection", "jailbreak"}


def test_an_unsure_label_is_still_the_likeliest_and_marked(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", json.dumps({"text": "well then, what about the one over there?"}))
    out = io.StringIO()
    run_classify(path, "1", out)
    domain = json.loads(out.getvalue())["domain"]

    assert domain["label"] == max(domain["probabilities"], key=domain["probabilities"].get)
    assert domain["abstained"] == (domain["probabilities"][domain["label"]] < 0.4)


def test_spans_stand_in_characters_of_the_row(tmp_path: Path) -> None:
    text = "grüße, mail an jörg.müller@example.org bitte"
    path = write(tmp_path / "rows.jsonl", json.dumps({"text": text}))
    out = io.StringIO()
    run_classify(path, "0", out)
    row = json.loads(out.getvalue())

    assert [text[s["start"] : s["end"]] for s in row["pii"]["spans"]] == ["jörg.müller@example.org"]
    assert {head["tier"] for name, head in row.items() if name not in ("pii", "coverage")} == {0}


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"text": "hello"}\n\n'))
    out = io.StringIO()

    assert run_classify("-", "auto", out) == 0
    assert len(out.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ('{"txt": "a"}', 'line 2 is not an object with a string "text"'),
        ('{"text": 3}', 'line 2 is not an object with a string "text"'),
        ("[]", 'line 2 is not an object with a string "text"'),
    ],
)
def test_a_bad_row_names_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str) -> None:
    path = write(tmp_path / "rows.jsonl", '{"text": "fine"}', line)

    assert run_classify(path, "auto", io.StringIO()) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("tier", ["auto", "0", "1"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], tier: Ask) -> None:
    assert run_classify(str(tmp_path / "none"), tier, io.StringIO()) == 1
    assert "none" in capsys.readouterr().err
