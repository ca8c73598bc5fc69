"""Personal data with a form: what is found, and what only looks like it."""

import time
from itertools import pairwise

import pytest

from semantic.signals.checksums import is_card, is_iban, is_luhn, is_ssn
from semantic.signals.detectors import DETERMINISTIC, detect
from semantic.signals.values import PiiSpan, touching


def found(text: str) -> list[tuple[str, str]]:
    return [(span.type, text[span.start : span.end]) for span in detect(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("write to jane.doe+news@mail.example.co.uk today", "EMAIL_ADDRESS", "jane.doe+news@mail.example.co.uk"),
        ("my card is 4111 1111 1111 1111, thanks", "CREDIT_CARD", "4111 1111 1111 1111"),
        ("card 378282246310005.", "CREDIT_CARD", "378282246310005"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN_CODE", "DE89 3704 0044 0532 0130 00"),
        ("pay GB82WEST12345698765432 now", "IBAN_CODE", "GB82WEST12345698765432"),
        ("SSN 536-22-1847", "US_SSN", "536-22-1847"),
        ("my social security number: 536221847", "US_SSN", "536221847"),
        ("from 192.168.10.254 to us", "IP_ADDRESS", "192.168.10.254"),
        ("listen on 2001:db8::ff00:42:8329 only", "IP_ADDRESS", "2001:db8::ff00:42:8329"),
        ("device 00:1A:2b:3C:4d:5E offline", "MAC_ADDRESS", "00:1A:2b:3C:4d:5E"),
        ("key ghp_" + "a1B2" * 9 + " leaked", "API_KEY", "ghp_" + "a1B2" * 9),
        ("AKIAIOSFODNN7EXAMPLE", "API_KEY", "AKIAIOSFODNN7EXAMPLE"),
        ("see https://shop.example.com/cart?id=3.", "DOMAIN_NAME", "https://shop.example.com/cart?id=3"),
        ("is my-shop.io down", "DOMAIN_NAME", "my-shop.io"),
        ("call +49 170 1234567 now", "PHONE_NUMBER", "+49 170 1234567"),
        ("ring me on (212) 555-0187", "PHONE_NUMBER", "(212) 555-0187"),
        ("phone: 0171 2345678", "PHONE_NUMBER", "0171 2345678"),
    ],
)
def test_each_form_is_found_in_its_exact_place(text: str, kind: str, value: str) -> None:
    assert found(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "order 4111111111111112 has not arrived",  # the check digit is wrong
        "the year 1999-2004 and the date 12.05.1999",
        "add 1234567 and 7654321, then divide by 3.14159265",
        "version 1.2.3.4.5 and 999.999.999.999",
        "the codes 666-12-1234 and 123-00-1234 were never issued",
        "Mr. Smith met the V.I.P. at 10:30:45",
        "use std::vector and a::b",
        "x = y@z and @mention",
        "2 + 2 * (5 - 1)",
    ],
)
def test_numbers_and_signs_that_only_look_alike_are_left(text: str) -> None:
    assert found(text) == []


def test_an_iban_behind_another_is_found_as_well() -> None:
    one = "DE89 3704 0044 0532 0130 00"

    assert found(f"from {one} and then {one}") == [("IBAN_CODE", one)] * 2


def test_an_iban_with_wrong_check_digits_is_found_with_less_certainty() -> None:
    right, wrong = detect("DE89370400440532013000")[0], detect("DE88370400440532013000")[0]

    assert right.score == 1
    assert wrong.score < right.score


def test_spans_are_in_order_and_do_not_overlap() -> None:
    spans = detect("a@b.com, 4111111111111111, +1 212 555 0187, http://b.com, 10.0.0.1, DE89370400440532013000 " * 20)

    assert all(one.end <= two.start for one, two in pairwise(spans))
    assert {span.type for span in spans} <= set(DETERMINISTIC)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "1",
        "1 ",
        "a.",
        "0-",
        "::",
        "@a",
        "(+1",
        "A1",
        "eyJ.",
        "1.1.",
        "123-45-6789 ",
        "http://a",
        "SG.aaaaaaaaaaaaaaaa.",
    ],
)
def test_hostile_repetition_stays_linear(piece: str) -> None:
    """Four times the text may cost four times the time, not sixteen times: the ratio of the best of three."""
    short, long = (min(_seconds(piece * count) for _ in range(3)) for count in (20_000, 80_000))

    assert long / max(short, 1e-3) < 12


def _seconds(text: str) -> float:
    began = time.process_time()
    detect(text)
    return time.process_time() - began


def test_check_digits() -> None:
    assert is_luhn("79927398713")
    assert not is_luhn("79927398710")
    assert is_card("5500005555555559")
    assert not is_card("0000000000000000")
    assert is_iban("FR1420041010050500013M02606")
    assert not is_iban("FR1420041010050500013M02607")
    assert is_ssn("536221847")
    assert not any(is_ssn(number) for number in ("000221847", "666221847", "936221847", "536001847", "536220000"))


def test_spans_that_touch_are_found_by_halving() -> None:
    spans = [PiiSpan(n, n + 5, "PHONE_NUMBER", 1.0) for n in range(0, 100, 10)]

    assert [spans[touching(spans, start, end)] for start, end in ((4, 11), (5, 10), (200, 210))] == [spans[:2], [], []]
    assert touching(spans, 5, 10) == slice(1, 1)


def test_a_long_text_of_addresses_keeps_them_all() -> None:
    text = " ".join(f"user{n}@example{n}.com" for n in range(5_000))

    assert len(detect(text)) == 5_000
