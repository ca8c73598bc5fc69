"""Policies by name, and ours with other numbers."""

import pytest

from benchmarks.sim import policies
from epp.scheduling.default import default_profile, reckoner_of
from epp.scheduling.reckoner import Prices


def prices(name: str) -> Prices:
    reckoner = reckoner_of(policies.maker(name)())
    assert reckoner is not None
    return reckoner.prices


def test_every_name_makes_profiles_with_a_memory_of_their_own() -> None:
    for name in policies.names():
        make = policies.maker(name)
        assert make() is not make()


def test_ours_has_the_numbers_it_is_given_and_the_usual_ones_else() -> None:
    assert prices("default") == Prices()
    assert prices("default:behind=0:decodes=0.1") == Prices(behind=0.0, decodes=0.1)
    assert Prices().behind > 0


def test_ours_with_other_numbers_still_has_our_gate() -> None:
    assert policies.own_admission("default:behind=0") == policies.OWN_GATE
    assert policies.maker("default:behind=0")().name == policies.OURS


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("default:behnd=0", "no number 'behnd'; it has arrivals, decodes, full, behind"),
        ("default:behind=much", "behind of default must be a number, not 'much'"),
        ("default:behind", "behind of default must be a number, not ''"),
        ("default:behind=-1", "behind must be finite and not negative"),
        ("lmetric:behind=1", "there is no policy 'lmetric:behind=1'"),
    ],
)
def test_a_number_that_is_wrong_is_said(name: str, said: str) -> None:
    with pytest.raises(ValueError, match="^.*" + said):
        policies.maker(name)


def test_the_default_profile_and_its_scorer_have_the_same_numbers() -> None:
    reckoner = reckoner_of(default_profile())
    assert reckoner is not None
    assert reckoner.prices == Prices()
