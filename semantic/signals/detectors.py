"""Finds personal data that has a form: addresses of the net, numbers with check digits, keys, telephone numbers.

Patterns only; each is linear in the text (no nested repetition). A check digit or a word nearby decides where the
form alone would take any number for a secret. Overlaps are settled by the order of DETECTORS.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from semantic.signals.checksums import IBAN_LENGTHS, is_card, is_iban, is_ssn
from semantic.signals.values import PiiSpan, touching

CONTEXT_CHARACTERS = 40
SLICE_CHARACTERS = 8_000
"""What patterns are given at once of a long text."""
CUT_CHARACTERS = 256
REACH = 512
"""Characters behind a slice that tell whether a form in it is worth looking for."""
MAC_SEPARATORS = 5
NUMBER = b"0000000"
"""A number of fewer digits is no telephone, card or SSN."""
SURE, FORM, UNCHECKED = 1.0, 0.9, 0.6
_NOT_DIGIT = re.compile(r"\D")


@dataclass(frozen=True, slots=True)
class Detector:
    """One type: its pattern, a check of what matched, and words of which one must stand before it."""

    type: str
    pattern: re.Pattern[str]
    score: float
    check: Callable[[str], bool] | None = None
    context: re.Pattern[str] | None = None
    hint: "Hint" = lambda text, kinds: True
    """Cheaper to tell than the pattern, and true whenever the pattern is there; asked once a slice."""
    reach: int = 512
    """Characters of the longest match, at most, with what is looked at behind it."""


Hint = Callable[[str, bytes], bool]
"""Of a text, and of the kinds of its characters (`_kinds`)."""


def _digits(text: str) -> str:
    return _NOT_DIGIT.sub("", text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_telephone(text: str) -> bool:
    text = _EXTENSION.sub("", text)
    digits = _digits(text)
    if not 7 <= len(digits) <= 15 or len(set(digits)) < 3:
        return False
    groups = re.findall(r"\d+", text)
    # 1999-2004 is a span of years, 12.05.1999 a date, 3.14159265 a number.
    if re.fullmatch(r"(1[89]|20)\d\d\s?[-/]\s?(1[89]|20)\d\d", text) or re.fullmatch(_DATE, text):
        return False
    return text[0] in "+(" or len(groups) >= 3 or text.startswith("0")


def _is_marked_telephone(text: str) -> bool:
    """A bare number that starts with 0 needs a word before it; a plus, brackets or groups speak for themselves."""
    return _is_telephone(text) and (not text[:2].isdigit() or len(re.findall(r"\d+", text)) >= 3)


_EXTENSION = re.compile(r"\s?(?:x|ext\.?)\s?\d{1,5}$")
_SEVEN_DIGITS = re.compile(r"\d(?:[ ./()-]{0,2}\d){6}")
_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}")
_TOP_DOMAINS = (
    "com|org|net|edu|gov|mil|int|info|biz|io|dev|app|ai|co|me|tv|xyz|online|site|shop|tech|cloud|example|test|local|"
    "de|fr|es|it|nl|pl|pt|se|dk|fi|no|cz|tr|uk|us|ca|in|br|eu|ch|at|be|ie|gr|hu|ro|bg|hr|rs|ru|ua|jp|cn|kr|au|nz|mx|ar"
)
_HOST = rf"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?\.){{1,6}}(?:{_TOP_DOMAINS})"
_NO_NUMBER_BEFORE = r"(?<![\w./+=*^-])(?<!\d,)"
_NO_NUMBER_AFTER = r"(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?![\w=*^/]|[.,-]\d)"
_TELEPHONE_WORDS = re.compile(
    r"phone|call|tel\b|tel[.:]|tel[eé]f|mobile|mobil|cell|fax|whatsapp|text\b|sms|number|num[eé]ro|nummer|numer|"
    r"ring|reach|contact|dial|handy|anruf|appel|llam|chiam|bel\b|zadzwo|lig(?:ue|ar)",
    re.IGNORECASE,
)
_SSN_WORDS = re.compile(r"\bssn\b|social|security n|tax id|tin\b", re.IGNORECASE)

_DOTTED_INSIDE = re.compile(rb"0\.0{1,3}\.0")  # as 1.2.3.4 has
_COLONS_INSIDE = re.compile(r":[0-9A-Fa-f]{0,4}:")
_BYTE_INSIDE = re.compile(r"[:-][0-9A-Fa-f]{2}[:-]")
_UNDERSCORED_KEY = re.compile(r"k_live_|k_test_|gh[pousr]_|github_pat_|hf_|npm_")
_KINDS = bytes(
    ord("A") if c.isupper() else ord("a") if c.islower() else ord("0") if c.isdigit() else ord(c)
    for c in map(chr, range(128))
).ljust(256, b"?")
_OTHER_DIGIT = re.compile(r"[^\D0-9]")
_DOMAIN_INSIDE = re.compile(rf"\.(?:{_TOP_DOMAINS})(?![\w-])")


def _has_at(text: str, kinds: bytes) -> bool:
    return "@" in text


def _has_key(text: str, kinds: bytes) -> bool:
    # A rare character of each beginning comes first: most texts are rid of most of these at the speed of `memchr`.
    return (
        ("-" in text and ("sk-" in text or "glpat-" in text or "pypi-" in text))
        or ("_" in text and _UNDERSCORED_KEY.search(text) is not None)
        or ("A" in text and ("AKIA" in text or "ASIA" in text or "AIza" in text))
        or ("x" in text and "xox" in text)
        or "eyJ" in text
        or "SG." in text
    )


def _has_country(text: str, kinds: bytes) -> bool:
    return b"AA00" in kinds  # as DE89 has


def _has_byte(text: str, kinds: bytes) -> bool:
    separators = max(kinds.count(b":"), kinds.count(b"-"))
    return separators >= MAC_SEPARATORS and _BYTE_INSIDE.search(text) is not None


def _has_address(text: str, kinds: bytes) -> bool:
    if b"0.0" in kinds and _DOTTED_INSIDE.search(kinds):
        return True
    return text.count(":") > 1 and _COLONS_INSIDE.search(text) is not None


def _has_domain(text: str, kinds: bytes) -> bool:
    return "://" in text or (b".a" in kinds and _DOMAIN_INSIDE.search(text) is not None)


def _has_number(text: str, kinds: bytes) -> bool:
    return NUMBER in kinds.translate(None, b" ./()-") and _SEVEN_DIGITS.search(text) is not None


DETECTORS: tuple[Detector, ...] = (
    Detector(
        "EMAIL_ADDRESS",
        re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,6}[^\W\d_]{2,24}(?![\w-])"),
        SURE,
        hint=_has_at,
    ),
    Detector(
        "API_KEY",
        re.compile(
            r"(?<![\w-])(?:sk-(?:proj-|ant-|live-|test-)?[A-Za-z0-9_-]{20,200}|[spr]k_(?:live|test)_[A-Za-z0-9]{10,200}"
            r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_-]{20,64}"
            r"|A[KS]IA[A-Z0-9]{12,20}|AIza[A-Za-z0-9_-]{30,45}|xox[abeprs]-[A-Za-z0-9-]{10,250}|hf_[A-Za-z0-9]{20,60}"
            r"|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}|npm_[A-Za-z0-9]{30,40}|pypi-[A-Za-z0-9_-]{40,250}"
            r"|eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000})(?![\w])"
        ),
        SURE,
        hint=_has_key,
        reach=7200,
    ),
    Detector(
        "IBAN_CODE",
        # Looked ahead, as it may go on into the next number; `_iban` cuts it to its length.
        re.compile(r"(?<![A-Za-z0-9])(?=([A-Z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}))[A-Z]{2}"),
        SURE,
        hint=_has_country,
    ),
    Detector(
        "MAC_ADDRESS",
        re.compile(
            r"(?<![\w:-])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![\w:-])|(?<![\w-])(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}(?![\w-])"
        ),
        SURE,
        hint=_has_byte,
    ),
    Detector(
        "IP_ADDRESS",
        re.compile(r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})(?![\w:]|\.\d)"),
        SURE,
        lambda found: _is_address(found) and len(found) > 4,
        hint=_has_address,
    ),
    Detector(
        "CREDIT_CARD",
        re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){11,18}(?![\w-]|\.\d)"),
        SURE,
        lambda found: is_card(_digits(found)),
        hint=_has_number,
    ),
    Detector(
        "US_SSN",
        re.compile(r"(?<![\w.+-])\d{3}([- ])\d{2}\1\d{4}(?![\w-]|\.\d)"),
        FORM,
        lambda found: is_ssn(_digits(found)),
        hint=_has_number,
    ),
    Detector("US_SSN", re.compile(r"(?<![\w.+-])\d{9}(?![\w-]|\.\d)"), FORM, is_ssn, _SSN_WORDS, _has_number),
    Detector(
        "DOMAIN_NAME",
        re.compile(
            rf"(?<![\w@.-])(?:(?i:https?)://[^\s<>\"'`)\]}}/.]{{1,200}}\.[^\s<>\"'`)\]}}]{{2,2000}}|{_HOST}(?![\w-])(?:/[^\s<>\"'`)\]}}]{{0,2000}})?)"
        ),
        FORM,
        hint=_has_domain,
        reach=2700,
    ),
    Detector(
        "PHONE_NUMBER",
        re.compile(rf"{_NO_NUMBER_BEFORE}(?:\+|\(?\+?\d)(?:[ ./()-]{{0,2}}\d){{6,16}}{_NO_NUMBER_AFTER}"),
        FORM,
        _is_telephone,
        _TELEPHONE_WORDS,
        _has_number,
    ),
    Detector(
        "PHONE_NUMBER",
        re.compile(
            rf"{_NO_NUMBER_BEFORE}(?:\+\d|\(0?\d{{2,4}}\)[ -]?\d|0\d|\d(?=\d\d[.-]\d{{3}}[.-]\d{{4}}\b))"
            rf"(?:[ ./()-]{{0,2}}\d){{6,14}}{_NO_NUMBER_AFTER}"
        ),
        FORM,
        _is_marked_telephone,
        hint=_has_number,
    ),
)
_HINTS = tuple({detector.hint for detector in DETECTORS})
DETERMINISTIC = tuple(dict.fromkeys(detector.type for detector in DETECTORS))


def detect(text: str) -> list[PiiSpan]:
    """The spans, by place; none overlaps another."""
    found: list[PiiSpan] = []
    for _ in scan(text, found):
        pass
    return found


def scan(text: str, found: list[PiiSpan]) -> Iterator[None]:
    """Adds the spans to those found so far, slice by slice; yields after each bit of work, about a millisecond at most.

    A pattern holds the interpreter until it has gone through what it is given, in whatever thread: hence slices.
    """
    start = 0
    while start < len(text):
        end = _cut(text, start + SLICE_CHARACTERS)
        window = text[start : end + REACH]
        kinds = _kinds(window)
        hinted = {hint for hint in _HINTS if hint(window, kinds)}
        yield
        for detector in DETECTORS:
            if detector.hint in hinted:
                for span in _matches(detector, text, start, end):
                    place = touching(found, span.start, span.end)
                    if place.start == place.stop:
                        found.insert(place.start, span)
                yield
        start = end


def _cut(text: str, at: int) -> int:
    """A place not far before `at` that no form goes over: numbers have spaces inside, nothing else has."""
    for place in range(at, at - CUT_CHARACTERS, -1) if at < len(text) else ():
        if text[place - 1].isspace() and not text[place].isdigit():
            return place
    return min(at, len(text))


def _kinds(text: str) -> bytes:
    """A for capitals, a for small letters, 0 for digits, other ASCII as it is, and ? for what is beyond ASCII.

    Digits of other scripts are 0 as well, which patterns take for digits.
    """
    if not text.isascii():
        text = _OTHER_DIGIT.sub("0", text)
    return text.encode("ascii", errors="replace").translate(_KINDS)


def _matches(detector: Detector, text: str, first: int, past: int) -> Iterator[PiiSpan]:
    """Those that begin from `first` on and before `past`."""
    for match in detector.pattern.finditer(text, first, past + detector.reach):
        start, end = match.span()
        if start >= past:
            return
        matched = match[0]
        if detector.type == "IBAN_CODE":
            yield from _iban(start, match[1])
            continue
        if detector.type == "DOMAIN_NAME":
            matched = matched.rstrip(".,;:!?")
            end = start + len(matched)
        if detector.check is not None and not detector.check(matched):
            continue
        before = text[max(0, start - CONTEXT_CHARACTERS) : start]
        if detector.context is None or detector.context.search(before):
            yield PiiSpan(start, end, detector.type, detector.score)


def _iban(start: int, matched: str) -> Iterator[PiiSpan]:
    """The number cut to its country's length. Without the right check digits it is still somebody's, less surely."""
    places = [n for n, character in enumerate(matched) if character.isalnum()]
    length = IBAN_LENGTHS.get(matched[:2], 0)
    if not length or len(places) < length or matched[places[length - 1] + 1 :][:1].isalnum():
        return
    end = places[length - 1] + 1
    compact = "".join(matched[place] for place in places[:length]).upper()
    yield PiiSpan(start, start + end, "IBAN_CODE", SURE if is_iban(compact) else UNCHECKED)
