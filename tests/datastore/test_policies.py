"""Objectives and rewrites: which one decides, in what shares, and what is told of those that do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.datastore.objects import OLD_POOL_GROUP, POOL_GROUP, Objective, PoolRef, Rewrite, RewriteRule, Target
from epp.datastore.policies import NAMED_MAX, Conflict, Policies, Rewritten

OLD, NEW = "2026-01-01T00:00:00.000000+00:00", "2026-01-02T00:00:00.000000+00:00"
RNG = Random(1)


class Draws(Random):
    """Dice that show the given numbers in turn, and remember how many sides each had."""

    def __init__(self, *draws: int) -> None:
        super().__init__(0)
        self.draws = list(draws)
        self.sides: list[int] = []

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        assert (stop, step) == (None, 1)
        self.sides.append(start)
        return self.draws.pop(0)


def rule(matches: str, *targets: str | tuple[str, int | None]) -> RewriteRule:
    """`rule("a b", "c", ("d", 2))`: models a and b go to c without a weight or d with one; `""` is any model."""
    made = tuple(Target(*((target, None) if isinstance(target, str) else target)) for target in targets)
    return RewriteRule(tuple(matches.split()), made)


def rewrite(name: str, *rules: RewriteRule, created: str = OLD, pool: str = "p", ns: str = "ns") -> Rewrite:
    return Rewrite(ns, name, created, name, PoolRef(POOL_GROUP, pool), rules)


def objective(name: str, priority: int = 0, pool: str = "p", ns: str = "ns", group: str = POOL_GROUP) -> Objective:
    return Objective(ns, name, PoolRef(group, pool), priority)


def of(*rewrites: Rewrite) -> Policies:
    return Policies({"ns/p"}, (), rewrites)


def asked(policies: Policies, model: str | None) -> tuple[str, str, int] | None:
    found = policies.rewrite(model, RNG)
    return None if found is None else (found.model, found.rewrite, found.rule)


def test_no_policies_say_nothing() -> None:
    assert Policies.NONE.rewrite("m", RNG) is None
    assert Policies.NONE.rewrite(None, RNG) is None
    assert Policies.NONE.priority("x") == 0
    assert Policies.NONE.names() == ()
    assert Policies.NONE.conflicts() == []


def test_the_priority_of_an_objective_by_its_name() -> None:
    policies = Policies({"ns/p"}, [objective("gold", 10), objective("batch", -1)])

    assert policies.priority("gold") == 10
    assert policies.priority("batch") == -1
    assert policies.priority("unheard-of") == 0
    assert policies.priority("") == 0
    assert policies.priority(None) == 0
    assert policies.priorities() == {"batch": -1, "gold": 10}


@pytest.mark.parametrize(
    "other",
    [
        objective("gold", 10, pool="another"),
        objective("gold", 10, ns="another"),
        objective("gold", 10, group=OLD_POOL_GROUP),
        objective("gold", 10, group=""),
    ],
)
def test_only_objectives_of_our_pool_count(other: Objective) -> None:
    assert Policies({"ns/p"}, [other]).priority("gold") == 0


def test_the_group_of_the_pool_may_be_the_old_one() -> None:
    objectives = [objective("gold", 10, group=OLD_POOL_GROUP), objective("silver", 5)]

    assert Policies({"ns/p"}, objectives, group=OLD_POOL_GROUP).priorities() == {"gold": 10}


def test_several_pools_share_their_objectives() -> None:
    policies = Policies(
        {"ns/p", "ns/q", "other/p"}, [objective("a", 1), objective("b", 2, "q"), objective("c", 3, "r")]
    )

    assert policies.priorities() == {"a": 1, "b": 2}


def test_a_rule_that_names_the_model_comes_before_an_older_one_for_any() -> None:
    policies = of(rewrite("any", rule("", "fallback")), rewrite("exact", rule("a", "b"), created=NEW))

    assert asked(policies, "a") == ("b", "ns/exact", 0)
    assert asked(policies, "c") == ("fallback", "ns/any", 0)
    assert asked(policies, None) == ("fallback", "ns/any", 0)
    assert asked(policies, "") == ("fallback", "ns/any", 0)


def test_without_a_rule_for_any_model_others_are_left_alone() -> None:
    policies = of(rewrite("exact", rule("a", "b")))

    assert asked(policies, "c") is None
    assert asked(policies, None) is None
    assert not policies.generic
    assert of(rewrite("any", rule("", "x"))).generic


def test_the_oldest_rewrite_decides() -> None:
    policies = of(rewrite("a-new", rule("m", "new"), created=NEW), rewrite("b-old", rule("m", "old")))

    assert asked(policies, "m") == ("old", "ns/b-old", 0)


def test_the_first_rule_of_a_rewrite_decides() -> None:
    policies = of(rewrite("r", rule("", "x"), rule("m n", "first"), rule("n m", "second"), rule("", "y")))

    assert asked(policies, "m") == ("first", "ns/r", 1)
    assert asked(policies, "other") == ("x", "ns/r", 0)


def test_rewrites_of_one_age_are_ordered_by_name() -> None:
    policies = of(rewrite("b", rule("m", "of-b")), rewrite("a", rule("m", "of-a")))

    assert asked(policies, "m") == ("of-a", "ns/a", 0)


def test_rewrites_of_one_age_in_two_namespaces_are_ordered_by_namespace() -> None:
    rewrites = [rewrite("a", rule("m", "of-b"), ns="b"), rewrite("z", rule("m", "of-a"), ns="a")]

    assert asked(Policies({"a/p", "b/p"}, (), rewrites), "m") == ("of-a", "a/z", 0)


def test_only_rewrites_of_our_pool_count() -> None:
    others = [
        rewrite("a", rule("", "x"), pool="another"),
        rewrite("b", rule("", "x"), ns="another"),
        Rewrite("ns", "c", OLD, "", PoolRef("other.group", "p"), (rule("", "x"),)),
    ]

    assert asked(of(*others), "m") is None


@pytest.mark.parametrize(
    ("targets", "shares"),
    [
        ([("a", 70), ("b", 30)], {"a": 70, "b": 30}),
        ([("a", 1), ("b", 1)], {"a": 1, "b": 1}),
        ([("a", 1), ("b", 2), ("c", 4)], {"a": 1, "b": 2, "c": 4}),
        (["a", "b", "c"], {"a": 1, "b": 1, "c": 1}),
        (["a", ("b", 3), ("c", 1)], {"b": 3, "c": 1}),
        ([("a", 2), ("a", 1), ("b", 1)], {"a": 3, "b": 1}),
    ],
)
def test_every_target_gets_its_share_of_the_draws(
    targets: Sequence[str | tuple[str, int | None]], shares: dict[str, int]
) -> None:
    policies = of(rewrite("r", rule("m", *targets)))
    sides = sum(shares.values())
    rng = Draws(*range(sides))
    chosen = Counter(asked_with(policies, rng) for _ in range(sides))

    assert chosen == shares
    assert rng.sides == [sides] * sides


def asked_with(policies: Policies, rng: Random) -> str:
    found = policies.rewrite("m", rng)
    assert found is not None
    return found.model


@pytest.mark.parametrize("targets", [["a"], [("a", 7)], ["b", ("a", 7), "c"]])
def test_one_possible_target_needs_no_draw(targets: Sequence[str | tuple[str, int | None]]) -> None:
    assert asked_with(of(rewrite("r", rule("m", *targets))), Draws()) == "a"


WEIGHTS = st.lists(st.none() | st.integers(1, 12), min_size=1, max_size=6)


@given(WEIGHTS)
def test_shares_are_exactly_the_weights(weights: list[int | None]) -> None:
    policies = of(rewrite("r", rule("m", *((str(n), weight) for n, weight in enumerate(weights)))))
    set_weights = {str(n): weight for n, weight in enumerate(weights) if weight is not None}
    expected = set_weights or {str(n): 1 for n in range(len(weights))}
    sides = sum(expected.values()) if len(expected) > 1 else 1
    rng = Draws(*range(sides))
    chosen = Counter(asked_with(policies, rng) for _ in range(sides))

    assert chosen == (expected if len(expected) > 1 else dict.fromkeys(expected, 1))


def test_clients_may_ask_for_what_a_rule_names() -> None:
    policies = of(rewrite("r", rule("b a", "x"), rule("", "y")), rewrite("s", rule("c a", "z"), pool="another"))

    assert policies.names() == ("a", "b")


def conflicts(*rewrites: Rewrite) -> list[tuple[str | None, str | None, tuple[str, ...]]]:
    return [(found.model, found.winner, found.losers) for found in of(*rewrites).conflicts()]


def test_two_rewrites_of_one_model_are_a_conflict() -> None:
    found = of(
        rewrite("old", rule("m", "x")),
        rewrite("new", rule("", "y"), rule("n m", "y"), created=NEW),
        rewrite("newer", rule("m", "z"), created=NEW),
    ).conflicts()

    assert found == [
        Conflict(
            "InferenceModelRewrite",
            "m",
            "ns/old",
            ("ns/new", "ns/newer"),
            "the model `m` is rewritten by more than one rule: ns/old rule 0 decides (the oldest), not ns/new rule 1, "
            "ns/newer rule 0",
        )
    ]


def test_two_rewrites_of_any_model_are_a_conflict() -> None:
    assert conflicts(rewrite("b", rule("", "x")), rewrite("a", rule("", "y"))) == [(None, "ns/a", ("ns/b",))]


def test_a_rule_that_an_earlier_one_hides_is_a_conflict() -> None:
    (found,) = of(rewrite("r", rule("m", "x"), rule("m", "y"))).conflicts()

    assert (found.winner, found.losers) == ("ns/r", ("ns/r",))
    assert "ns/r rule 0 decides (the first of its rules), not ns/r rule 1" in found.why


def test_a_hidden_rule_beside_a_younger_rewrite_is_told_with_it() -> None:
    (found,) = of(rewrite("r", rule("m", "x"), rule("m", "y")), rewrite("s", rule("m", "z"), created=NEW)).conflicts()

    assert found.losers == ("ns/r", "ns/s")
    assert "ns/r rule 0 decides (the oldest), not ns/r rule 1, ns/s rule 0" in found.why


def test_of_many_rivals_a_few_are_listed_in_words() -> None:
    (found,) = of(*(rewrite(f"r{n}", rule("m", "x")) for n in range(NAMED_MAX + 3))).conflicts()

    assert len(found.losers) == NAMED_MAX + 2
    assert found.why.endswith("ns/r4 rule 0, ns/r5 rule 0 and 2 more")


def test_an_exact_rule_and_one_for_any_model_are_no_conflict() -> None:
    assert conflicts(rewrite("a", rule("m", "x")), rewrite("b", rule("", "y")), rewrite("c", rule("n", "z"))) == []


def test_one_age_is_said_to_be_decided_by_name() -> None:
    (found,) = of(rewrite("b", rule("m", "x")), rewrite("a", rule("m", "y"))).conflicts()

    assert "ns/a rule 0 decides (of the oldest, the first by name), not ns/b rule 0" in found.why


def test_a_target_without_a_weight_beside_weighted_ones_is_told() -> None:
    (found,) = of(rewrite("r", rule("m", "a", ("b", 1), "c"))).conflicts()

    assert found.losers == ("ns/r",)
    assert found.why == ("rule 0 gives a weight to some targets only, and never chooses those without: `a`, `c`")


def test_a_pool_that_does_not_exist_is_told() -> None:
    objectives = [objective("x", pool="gone"), objective("y", pool="q"), objective("z")]
    found = Policies({"ns/p"}, objectives, [rewrite("r", pool="p", ns="other")], existing={"ns/q"}).conflicts()

    assert found == [
        Conflict("InferenceObjective", None, None, ("ns/x",), GONE.format("ns/gone")),
        Conflict("InferenceModelRewrite", None, None, ("other/r",), GONE.format("other/p")),
    ]


GONE = "it names the InferencePool {}, which does not exist, and has no effect"


def test_pools_that_we_do_not_see_are_not_said_to_be_gone() -> None:
    assert Policies({"ns/p"}, [objective("x", pool="gone")]).conflicts() == []


def test_our_pool_by_another_group_is_told() -> None:
    (found,) = Policies({"ns/p"}, [objective("x", group=OLD_POOL_GROUP)], existing={"ns/p"}).conflicts()

    assert found.losers == ("ns/x",)
    assert found.why == (
        'it names the InferencePool ns/p by the group "inference.networking.x-k8s.io" instead of '
        "inference.networking.k8s.io, and has no effect"
    )


def test_objectives_of_one_name_in_two_namespaces_are_told_where_they_differ() -> None:
    pools = {"a/p", "b/p"}
    policies = Policies(pools, [objective("x", 2, ns="b"), objective("x", 1, ns="a"), objective("y", ns="b")])

    assert policies.priority("x") == 1
    assert [(found.winner, found.losers) for found in policies.conflicts()] == [("a/x", ("b/x",))]
    assert Policies(pools, [objective("x", 1, ns="b"), objective("x", 1, ns="a")]).conflicts() == []


MODELS = st.sampled_from(["a", "b", "c"])
RULES = st.builds(
    lambda models, targets: RewriteRule(tuple(models), tuple(targets)),
    st.lists(MODELS, unique=True, max_size=3),
    st.lists(st.builds(Target, MODELS, st.none() | st.integers(1, 3)), min_size=1, max_size=3),
)
REWRITES = st.lists(
    st.builds(
        Rewrite,
        st.sampled_from(["ns", "other"]),
        st.sampled_from("xyz"),
        st.sampled_from([OLD, NEW]),
        st.just(""),
        st.builds(PoolRef, st.sampled_from([POOL_GROUP, OLD_POOL_GROUP]), st.sampled_from(["p", "q"])),
        st.lists(RULES, max_size=3).map(tuple),
    ),
    unique_by=lambda found: found.key,
)
OBJECTIVES = st.lists(
    st.builds(objective, st.sampled_from("xyz"), st.integers(-2, 2), ns=st.sampled_from(["ns", "other"])),
    unique_by=lambda found: found.key,
)


@given(OBJECTIVES, REWRITES, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    objectives: list[Objective], rewrites: list[Rewrite], rng: Random
) -> None:
    pools = {"ns/p", "other/p"}
    one = Policies(pools, objectives, rewrites, existing=pools)
    rng.shuffle(objectives)
    rng.shuffle(rewrites)
    two = Policies(pools, objectives, rewrites, existing=pools)

    assert one.priorities() == two.priorities()
    assert one.names() == two.names()
    assert one.conflicts() == two.conflicts()
    for model in ("a", "b", "c", "d", None):
        assert one.rewrite(model, Random(7)) == two.rewrite(model, Random(7))


@given(REWRITES, MODELS | st.none())
def test_the_rule_that_decides_is_the_first_in_the_documented_order(rewrites: list[Rewrite], model: str | None) -> None:
    ours = [r for r in rewrites if r.namespace == "ns" and r.pool == PoolRef(POOL_GROUP, "p")]
    ranked = sorted(
        (model not in rule.matches, r.created, r.name, index, r.key)
        for r in ours
        for index, rule in enumerate(r.rules)
        if not rule.matches or model in rule.matches
    )
    found = of(*rewrites).rewrite(model, Random(7))

    assert (found and (found.rewrite, found.rule)) == (ranked[0][4], ranked[0][3]) if ranked else found is None


def test_what_was_decided_says_where_it_comes_from() -> None:
    assert of(rewrite("r", rule("m", "x"))).rewrite("m", RNG) == Rewritten("x", "ns/r", 0)


@pytest.mark.parametrize("targets", [(("a", 1), ("b", 3)), ("a", "b"), ("a",)])
def test_weights_that_all_have_or_none_are_no_conflict(targets: tuple[str | tuple[str, int], ...]) -> None:
    assert conflicts(rewrite("r", rule("m", *targets))) == []


def test_as_many_rivals_as_are_listed_are_all_there_are() -> None:
    (found,) = of(*(rewrite(f"r{n}", rule("m", "x")) for n in range(NAMED_MAX + 1))).conflicts()

    assert found.why.endswith("ns/r5 rule 0")


def test_the_rules_that_decide_are_shown_with_the_share_of_each_model() -> None:
    policies = of(rewrite("r", rule("n m", ("x", 1), ("y", 2), ("x", 1)), rule("", "z", "w")))

    assert [(one.model, one.rewrite, one.rule, one.targets) for one in policies.rules()] == [
        ("m", "ns/r", 0, {"x": 0.5, "y": 0.5}),
        ("n", "ns/r", 0, {"x": 0.5, "y": 0.5}),
        (None, "ns/r", 1, {"z": 0.5, "w": 0.5}),
    ]
