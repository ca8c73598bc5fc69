"""What an informer does next, decided without any server."""

from __future__ import annotations

from random import Random

import pytest

from epp.edge.kube.client import PAGE_OBJECTS, ApiError
from epp.edge.kube.course import WATCH_TROUBLES_MAX, Course, Pauses

CUT = ApiError(0, "ConnectionLost", "")
AWAY = ApiError(0, "NoConnection", "")
GONE = ApiError(410, "Expired", "")
TOO_NEW = ApiError(504, "ResourceVersionTooLarge", "")
BUSY = ApiError(500, "InternalError", "")
FORBIDDEN = ApiError(403, "Forbidden", "")
ABSENT = ApiError(404, "NotFound", "")
PAUSES = Pauses(first_s=1.0, longest_s=8.0, denied_s=100.0, proven_s=5.0)


class Top(Random):
    """The longest pause that chance allows."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.fixture
def course() -> Course:
    course = Course(Top(), PAUSES)
    course.listed("7")
    return course


def test_it_begins_with_a_list_and_goes_on_from_there() -> None:
    course = Course(Top(), PAUSES)
    before = course.version
    course.listed("7")

    assert (before, course.version) == (None, "7")


def test_a_cut_watch_goes_on_from_the_last_version(course: Course) -> None:
    course.heard("8")
    course.watch_failed(CUT)

    assert course.version == "8"


@pytest.mark.parametrize("error", [AWAY, GONE, TOO_NEW, FORBIDDEN, ABSENT])
def test_a_list_follows_what_a_watch_cannot_go_on_from(course: Course, error: ApiError) -> None:
    course.watch_failed(error)

    assert course.version is None


def test_a_list_follows_many_troubles_in_a_row(course: Course) -> None:
    for _ in range(WATCH_TROUBLES_MAX - 1):
        course.watch_failed(BUSY)
    before = course.version
    course.watch_failed(BUSY)

    assert (before, course.version) == ("7", None)


def test_pauses_double_up_to_their_bound(course: Course) -> None:
    pauses = [course.list_failed(BUSY) for _ in range(6)]
    course.troubles = 10**6

    assert pauses == [1, 2, 4, 8, 8, 8]
    assert course.list_failed(BUSY) == 8


def test_lists_that_succeed_between_watches_that_fail_are_no_progress(course: Course) -> None:
    pauses = []
    for _ in range(4):
        pauses.append(course.watch_failed(GONE))
        course.listed("9")

    assert pauses == [1, 2, 4, 8]


def test_an_event_ends_the_row_of_troubles(course: Course) -> None:
    course.watch_failed(CUT)
    course.watch_failed(CUT)
    course.heard("8")

    assert course.watch_failed(CUT) == 1


def test_a_long_watch_that_the_server_ends_is_no_trouble(course: Course) -> None:
    course.watch_failed(CUT)

    assert course.watch_ended(5.0) == 0
    assert course.watch_failed(CUT) == 1


def test_short_watches_that_end_at_once_do_not_spin(course: Course) -> None:
    assert [course.watch_ended(0.1) for _ in range(3)] == [1, 2, 4]
    assert course.version == "7"


@pytest.mark.parametrize("error", [FORBIDDEN, ABSENT])
def test_what_only_a_person_can_change_is_asked_for_slowly(course: Course, error: ApiError) -> None:
    assert course.list_failed(error) == 100
    assert course.watch_failed(error) == 100


def test_a_list_that_expired_between_pages_comes_in_one_piece_and_the_next_in_pages(course: Course) -> None:
    course.list_failed(GONE)
    next_one = course.page_objects
    course.listed("9")

    assert (next_one, course.page_objects) == (0, PAGE_OBJECTS)


def test_pauses_are_jittered() -> None:
    course = Course(Random(1), Pauses(first_s=1.0, longest_s=1.0))
    pauses = [course.list_failed(BUSY) for _ in range(100)]

    assert 0.5 <= min(pauses) < 0.55
    assert 0.95 < max(pauses) <= 1.0
