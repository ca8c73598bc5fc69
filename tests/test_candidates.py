"""Candidates that cannot do what a request asks are left out before anything else, with the reason."""

from __future__ import annotations

import pytest

from epp import candidates
from epp.domain import Candidate, Choice, Exclusion, Limits, Needs, Reason, Receipt, Refused, Request
from tests.make import request

IMAGE = b'[{"role":"user","content":[{"type":"image_url","image_url":{"url":"canary-4711"}}]}]'
SOUND = b'[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"canary-4711"}}]}]'
BIG = Candidate("big", 0.0, 0.9)


def receipt() -> Receipt:
    return Receipt("id", "r", 0.0, "/v1/chat/completions", "auto")


def small(margin: float = 0.1, **limits: object) -> Candidate:
    return Candidate("small", margin, None, Limits(**limits))  # type: ignore[arg-type]  # the test's own names


def fit(asked: Request, *those: Candidate, **choice: bool) -> tuple[list[str | None], dict[str | None, Exclusion]]:
    told = receipt()
    left = candidates.fitting(Choice(those, **choice), asked, told)  # type: ignore[arg-type]
    return [c.model for c in left.candidates], told.excluded


@pytest.mark.parametrize(
    ("asked", "limits", "why"),
    [
        (request(prompt_tokens=9_000), {"context_tokens": 8_192}, Exclusion.CONTEXT_LENGTH),
        (request(prompt_tokens=5_000, needs=Needs(4_000)), {"context_tokens": 8_192}, Exclusion.CONTEXT_LENGTH),
        (request(needs=Needs(tools=True)), {"tools": False}, Exclusion.TOOLS),
        (request(needs=Needs(json_mode=True)), {"json_mode": False}, Exclusion.JSON_MODE),
        (request(prompt=IMAGE), {"images": False}, Exclusion.IMAGES),
        (request(prompt=SOUND), {"audio": False}, Exclusion.AUDIO),
    ],
)
def test_a_model_that_lacks_what_is_asked_gives_way_with_a_reason(
    asked: Request, limits: dict[str, object], why: Exclusion
) -> None:
    assert fit(asked, small(0.0, **limits), BIG) == (["big"], {"small": why})


@pytest.mark.parametrize(
    "limits", [{}, {"images": True, "audio": True, "tools": True, "json_mode": True, "context_tokens": 100_000}]
)
def test_what_is_not_known_counts_as_able(limits: dict[str, object]) -> None:
    asked = request(prompt=IMAGE + SOUND, prompt_tokens=9_000, needs=Needs(10, tools=True, json_mode=True))

    assert fit(asked, small(**limits), BIG) == (["small", "big"], {})


def test_a_request_that_asks_for_nothing_special_fits_everywhere() -> None:
    limits = {"images": False, "audio": False, "tools": False, "json_mode": False, "context_tokens": 10}

    assert fit(request(prompt=b'[{"content":"hello"}]', prompt_tokens=5), small(**limits))[0] == ["small"]


def test_an_estimate_alone_does_not_refuse_what_may_fit() -> None:
    """Tokens are guessed at four bytes each: 10,000 may be 7,000."""
    tight, tighter = small(context_tokens=8_192), Candidate("tiny", 0.2, None, Limits(context_tokens=2_048))
    left, excluded = fit(request(prompt_tokens=10_000), tight, tighter)

    assert (left, excluded) == (["small"], {"tiny": Exclusion.CONTEXT_LENGTH})


@pytest.mark.parametrize(
    ("asked", "limits", "reason", "says", "param"),
    [
        (
            request(prompt_tokens=100_000, needs=Needs(500)),
            {"context_tokens": 8_192},
            Reason.CONTEXT_TOO_LONG,
            "about 100000 tokens of prompt and 500 of output; the largest context of the models that may answer is "
            "8192 (`small`)",
            "messages",
        ),
        (
            request(prompt=IMAGE),
            {"images": False},
            Reason.CAPABILITY_MISSING,
            "none of the models that may answer reads images: `small`",
            "messages",
        ),
        (
            request(needs=Needs(tools=True)),
            {"tools": False},
            Reason.CAPABILITY_MISSING,
            "none of the models that may answer calls tools: `small`",
            "tools",
        ),
    ],
)
def test_where_none_is_left_the_refusal_says_why(
    asked: Request, limits: dict[str, object], reason: Reason, says: str, param: str
) -> None:
    with pytest.raises(Refused) as refused:
        fit(asked, small(**limits))

    assert refused.value.reason is reason
    assert refused.value.message.endswith(says)
    assert refused.value.param == param
    assert reason.status == 400
    assert "canary" not in refused.value.message


def test_several_reasons_are_told_one_by_one() -> None:
    asked = request(prompt=IMAGE, needs=Needs(tools=True))
    with pytest.raises(Refused, match="`small`: tools; `blind`: images"):
        fit(asked, small(tools=False), Candidate("blind", 0.1, None, Limits(images=False)))


def test_never_degrade_leaves_only_equals_of_the_first_that_can() -> None:
    equal, weaker = Candidate("twin", 0.0), Candidate("weak", 0.05)

    assert fit(request(), BIG, equal, weaker, never_degrade=True) == (
        ["big", "twin"],
        {"weak": Exclusion.NEVER_DEGRADE},
    )
    assert fit(request(never_degrade=True), BIG, weaker)[0] == ["big"]
    assert fit(request(), BIG, weaker)[0] == ["big", "weak"]


def test_never_degrade_measures_against_what_can_do_the_job() -> None:
    asked = request(needs=Needs(tools=True), never_degrade=True)
    left, excluded = fit(asked, small(0.0, tools=False), Candidate("mid", 0.1), Candidate("low", 0.3))

    assert left == ["mid"]
    assert excluded == {"small": Exclusion.TOOLS, "low": Exclusion.NEVER_DEGRADE}


def test_what_was_decided_once_comes_first() -> None:
    choice = Choice((Candidate("a"), Candidate("b"), Candidate("c")))

    assert [c.model for c in candidates.first(Candidate("b"), choice).candidates] == ["b", "a", "c"]
    assert candidates.first(Candidate("gone"), choice) is choice
