"""Label selectors: what the text means, how it is printed, and where a wrong one is wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epp.datastore.selectors import Operator, Requirement, Selector, parse

VLLM = {"app": "vllm", "tier": "gold", "llm-d.ai/role": "decode", "empty": ""}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("app=vllm", True),
        ("app==vllm", True),
        ("app=sglang", False),
        ("missing=vllm", False),
        ("app!=sglang", True),
        ("app!=vllm", False),
        ("missing!=vllm", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("!app", False),
        ("tier in (gold,silver)", True),
        ("tier in (silver)", False),
        ("missing in (gold)", False),
        ("tier notin (gold,silver)", False),
        ("tier notin (silver)", True),
        ("missing notin (silver)", True),
        ("empty=", True),
        ("app=", False),
        ("missing=", False),
        ("missing!=", True),
        ("empty in (,x)", True),
        ("empty in ()", True),
        ("app=vllm,tier=gold", True),
        ("app=vllm,tier=silver", False),
        ("app=vllm,app=sglang", False),
        ("llm-d.ai/role=decode", True),
        (" app = vllm ,\t! missing , tier  in( gold , silver )", True),
        ("in,notin in (in,notin)", False),
    ],
)
def test_what_a_selector_selects(text: str, selected: bool) -> None:
    assert parse(text).matches(VLLM) is selected


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        ("b=1,a=2", "a=2,b=1"),
        ("a==1", "a=1"),
        ("a in (y,x,y)", "a in (x,y)"),
        ("a in (x)", "a=x"),
        ("a notin (x)", "a!=x"),
        ("a notin (y, x)", "a notin (x,y)"),
        ("a=1,a=1", "a=1"),
        ("! a", "!a"),
        ("h notin (z),a=b,c!=d,e,!f,g in (x,y)", "a=b,c!=d,e,!f,g in (x,y),h!=z"),
    ],
)
def test_a_selector_is_printed_in_one_way(text: str, printed: str) -> None:
    assert str(parse(text)) == printed


@pytest.mark.parametrize(
    ("text", "at", "expected", "found"),
    [
        ("a=b,", 5, "a label's key", "the end"),
        (",a=b", 1, "a label's key", "`,`"),
        ("a=b,,c=d", 5, "a label's key", "`,`"),
        ("a=b c=d", 5, "`,` or the end", "`c`"),
        ("a b", 3, "one of `=`, `!=`, `in (...)`, `notin (...)`, `,` or the end", "`b`"),
        ("a=b=c", 4, "`,` or the end", "`=`"),
        ("-a=b", 1, "a label's key", "`-a`"),
        ("X.io/a=b", 1, "a label's key", "`X.io/a`"),
        ("a/b/c", 1, "a label's key", "`a/b/c`"),
        ("x/", 1, "a label's key", "`x/`"),
        ("/x", 1, "a label's key", "`/x`"),
        ("a=_b", 3, "a label's value", "`_b`"),
        ("a=b/c", 3, "a label's value", "`b/c`"),
        ("a==!", 4, "a label's value", "`!`"),
        (f"a={'x' * 64}", 3, "a label's value", f"`{'x' * 64}`"),
        (f"{'x' * 64}", 1, "a label's key", f"`{'x' * 64}`"),
        (f"{'x' * 254}/a", 1, "a label's key", f"`{'x' * 254}/a`"),
        ("!", 2, "a label's key", "the end"),
        ("!a=b", 3, "`,` or the end", "`=`"),
        ("!!a", 2, "a label's key", "`!`"),
        ("a in b", 6, "`(`", "`b`"),
        ("a in (b", 8, "`,` or `)`", "the end"),
        ("a in (b c)", 9, "`,` or `)`", "`c`"),
        ("a in ((b)", 7, "a label's value", "`(`"),
        ("a in (b))", 9, "`,` or the end", "`)`"),
        ("a>5", 2, "one of `=`, `!=`, `in (...)`, `notin (...)`, `,` or the end", "`>`"),
        ("app=vllm, tier=góld", 16, "a label's value", "`góld`"),
    ],
)
def test_a_wrong_selector_is_told_where_it_is_wrong(text: str, at: int, expected: str, found: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)

    assert str(caught.value) == f"label selector '{text}', character {at}: expected {expected}, found {found}"


def test_labels_of_a_map_must_all_be_there() -> None:
    selector = Selector.of({"tier": "gold", "app": "vllm"})

    assert selector == parse("app=vllm,tier=gold")
    assert selector.matches(VLLM)
    assert not selector.matches({"app": "vllm"})


@pytest.mark.parametrize("labels", [{"a,b": "c"}, {"a": "b,c=d"}, {"": "x"}, {"a": " "}, {"a\n": "b"}, {"a": "b\n"}])
def test_what_would_read_as_something_else_is_no_label(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is not a label's"):
        Selector.of(labels)


KEYS = st.sampled_from(["a", "b", "in", "notin", "x.io/a", "a_b.c-d", "0"])
VALUES = st.sampled_from(["", "x", "y", "in", "notin", "0.1-a_b", "x" * 63])
WITH_VALUES = st.builds(
    lambda key, operator, values: Requirement(key, operator, tuple(sorted(values))),
    KEYS, st.sampled_from([Operator.IN, Operator.NOT_IN]), st.sets(VALUES, min_size=1),
)  # fmt: skip
WITHOUT = st.builds(Requirement, KEYS, st.sampled_from([Operator.EXISTS, Operator.ABSENT]))
TERMS = st.lists(WITH_VALUES | WITHOUT, max_size=5)


@given(TERMS)
def test_the_text_says_what_the_selector_means(terms: list[Requirement]) -> None:
    selector = parse(",".join(map(str, terms)))

    assert set(selector.requirements) == set(terms)
    assert parse(str(selector)) == selector


@given(TERMS, st.dictionaries(KEYS, VALUES))
def test_an_object_is_selected_where_every_term_holds(terms: list[Requirement], labels: dict[str, str]) -> None:
    def holds(term: Requirement) -> bool:
        has = term.key in labels
        is_one = has and labels[term.key] in term.values
        return {"in": is_one, "notin": not is_one, "exists": has, "absent": not has}[term.operator.value]

    assert parse(",".join(map(str, terms))).matches(labels) is all(map(holds, terms))


@given(st.text(alphabet="ab=!,() \tin\n/-.é<", max_size=20) | st.text(max_size=20))
@example("in in (in)")
@example("a in (,)")
def test_any_text_is_a_selector_or_a_sentence(text: str) -> None:
    try:
        selector = parse(text)
    except ValueError as error:
        found = re.search(r"character (\d+): expected", str(error).removeprefix(f"label selector '{text}', "))
        wrong_at = int(found[1]) if found else None
    else:
        assert parse(str(selector)) == selector
        return

    assert wrong_at is not None
    assert 1 <= wrong_at <= len(text) + 1
