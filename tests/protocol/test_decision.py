"""The signed header between our two streams of one request: what holds, and what counts as nothing."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.protocol.decision import LIFETIME_S, Decision, Signer, _mac, about
from epp.protocol.headers import DECISION

KEY = b"k" * 32
HEADERS = {":path": "/v1/chat/completions"}
ABOUT = about("r-1", HEADERS, b"{}")
NOW = 1_800_000_000.0
SAID = Decision(NOW + LIFETIME_S, ABOUT, "receipt-1", "auto", "phi4-mini", "math", "math", 0.5, "full")


def verified(value: str, *, key: bytes = KEY, now: float = NOW) -> Decision | None:
    return Signer(key).verify({DECISION: value}, now)


def test_what_is_signed_comes_back_whole() -> None:
    found = verified(Signer(KEY).sign(SAID))

    assert found == SAID
    assert found is not None
    choice = found.choice()
    assert (choice.candidates[0].model, choice.decision, choice.classification) == ("phi4-mini", "math", "full")


@pytest.mark.parametrize(
    "other",
    [
        about("r-2", HEADERS, b"{}"),
        about("r-1", {":path": "/v1/completions"}, b"{}"),
        about("r-1", HEADERS, b"{ }"),
    ],
)
def test_another_request_is_another_one_to_speak_about(other: str) -> None:
    assert other != ABOUT


@pytest.mark.parametrize("now", [NOW + LIFETIME_S, NOW + 10 * LIFETIME_S, NOW - 10 * LIFETIME_S])
def test_out_of_its_time_it_says_nothing(now: float) -> None:
    assert verified(Signer(KEY).sign(SAID), now=now) is None


@pytest.mark.parametrize("apart_s", [-45, 45])
def test_nodes_whose_clocks_are_apart_understand_each_other(apart_s: float) -> None:
    assert verified(Signer(KEY).sign(SAID), now=NOW + apart_s) == SAID


def test_under_another_key_it_says_nothing() -> None:
    assert verified(Signer(b"x" * 32).sign(SAID)) is None


@given(position=st.integers(0, 10_000), bit=st.integers(0, 6))
def test_no_changed_character_is_accepted(position: int, bit: int) -> None:
    value = bytearray(Signer(KEY).sign(SAID), "ascii")
    value[position % len(value)] ^= 1 << bit

    assert verified(value.decode("ascii")) is None


@given(st.text(max_size=200))
def test_whatever_a_client_sends_is_nothing(value: str) -> None:
    assert verified(value) is None


def test_a_payload_that_is_signed_but_no_decision_is_nothing() -> None:
    for payload in (b"{}", b"[1]", b"\xff", b""):
        encoded = urlsafe_b64encode(payload)
        assert verified(f"{encoded.decode()}.{_mac(KEY, encoded).decode()}") is None


def test_the_header_holds_names_and_numbers_only() -> None:
    payload = urlsafe_b64decode(Signer(KEY).sign(SAID).partition(".")[0])

    assert msgspec.json.decode(payload)[2:6] == ["receipt-1", "auto", "phi4-mini", "math"]


@pytest.mark.parametrize("content", [b"short", b"", b"\n\n", b"a" * 32 + b"\nshort\n"])
def test_a_short_key_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="needs at least 32"):
        Signer.of(content)


def test_a_key_is_changed_while_both_are_in_use() -> None:
    old, new = b"o" * 64, b"n" * 64
    steps = [Signer.of(b"\n".join(lines) + b"\n") for lines in ([old], [old, new], [new, old], [new])]

    for before, after in pairwise(steps):
        assert before.verify({DECISION: after.sign(SAID)}, NOW) == SAID
        assert after.verify({DECISION: before.sign(SAID)}, NOW) == SAID
    assert steps[-1].verify({DECISION: steps[0].sign(SAID)}, NOW) is None


def test_bytes_that_are_no_text_are_one_key() -> None:
    content = b"\xff\n" + b"k" * 30 + b"\n"

    assert Signer(content).verify({DECISION: Signer.of(content).sign(SAID)}, NOW) == SAID
