"""What the filming page is asked to send: bounds, the order of giving up, hysteresis, bad input."""
import math
from dataclasses import dataclass, replace

import pytest

from streamassist.errors import StreamAssistError
from streamassist.types import Stats
from ui.sender import (
    BUSY_MODEL,
    FALLBACK_SIDE,
    QUALITY_STEPS,
    RATES,
    RECOVER_MOST_S,
    RECOVER_S,
    SIDES,
    SLOW_LINK,
    Ladder,
    Plan,
    Report,
    Sender,
    best_plan,
)

GOOD = Report(1.0, sent=4, bytes=60_000, round_trip_s=0.01)
LATE = Report(1.0, sent=1, late=3, bytes=15_000, round_trip_s=0.4)
STUCK = Report(1.0, late=4)


def stats(dropped: int = 0, lag_s: float = 0.1) -> Stats:
    return Stats(0.0, 0.0, frames_dropped=dropped, lag_s=lag_s)


def plans(sender: Sender, reports: list[Report], counters: Stats | None = None) -> list[Plan]:
    """The plan after each report."""
    return [(sender.heard(report, counters), sender.plan)[1] for report in reports]


# ---------------------------------------------------------------- at ease

def test_the_page_sends_what_the_model_uses_at_twice_its_rate() -> None:
    assert best_plan(288, 2.0) == Plan(288, 4.0, 0.8, 1.0)
    assert best_plan(448, 8.0).fps == 16.0


@pytest.mark.parametrize("side, fps", [
    (None, None), (math.nan, math.nan), (math.inf, -math.inf), ("288", "2"), (True, False),
    (10**400, 10**400), ([], {}),
])
def test_a_model_that_says_nothing_useful_gets_a_sane_plan(side: object, fps: object) -> None:
    assert best_plan(side, fps) == Plan(FALLBACK_SIDE, 4.0)


@pytest.mark.parametrize("side, fps, expected", [
    (-5, -1, (SIDES[0], 1.0)), (0, 0.1, (SIDES[0], 1.0)), (1e9, 1e9, (SIDES[1], RATES[1])),
])
def test_what_is_out_of_bounds_is_clamped(side: float, fps: float, expected: tuple) -> None:
    plan = best_plan(side, fps)
    assert (plan.side, plan.fps) == expected


def test_while_all_is_well_nothing_changes() -> None:
    sender = Sender(best_plan(288, 2.0))
    assert [sender.heard(GOOD, stats()) for _ in range(60)] == [None] * 60


def test_a_fixed_plan_stays() -> None:
    fixed = Plan(480, 5.0, refresh_s=0.0)
    assert set(plans(Sender(fixed, fixed=True), [STUCK] * 30)) == {fixed}


# ---------------------------------------------------------------- a slow way

def test_rate_goes_first_then_quality_then_size_and_never_below_the_floor() -> None:
    seen = list(dict.fromkeys(plans(Sender(best_plan(448, 2.0)), [LATE] * 60)))
    rates = [p.fps for p in seen]
    assert rates == sorted(rates, reverse=True) and rates[-1] == 1.0
    for earlier, later in zip(seen, seen[1:], strict=False):
        changed = [n for n in ("fps", "quality", "side")
                   if getattr(earlier, n) != getattr(later, n)]
        assert len(changed) == 1
        if changed != ["fps"]:
            assert later.fps == rates[-1], "detail was given up before the rate"
        if changed == ["side"]:
            assert later.quality == QUALITY_STEPS[-1], "size was given up before the quality"
    assert (seen[-1].side, seen[-1].quality) == (round(448 * 0.7), QUALITY_STEPS[-1])
    assert {p.why for p in seen if p.fps < 4} == {SLOW_LINK}


@pytest.mark.parametrize("side, fps", [(240, 0.1), (288, 2.0), (1080, 30.0)])
def test_the_worst_plan_still_shows_something(side: int, fps: float) -> None:
    worst = plans(Sender(best_plan(side, fps)), [STUCK] * 100)[-1]
    assert worst.side >= SIDES[0] and worst.fps >= RATES[0] and worst.quality >= 0.5
    assert worst.refresh_s == 1.0


def test_one_bad_second_changes_nothing() -> None:
    assert {p.fps for p in plans(Sender(best_plan(288, 2.0)), [GOOD, LATE, GOOD, STUCK] * 5)} == {4}


def test_a_far_page_is_not_a_slow_one() -> None:
    far = replace(GOOD, round_trip_s=0.45)
    assert {p.why for p in plans(Sender(best_plan(288, 2.0)), [far] * 60)} == {""}
    slower = [far] * 5 + [replace(GOOD, round_trip_s=1.2)] * 5
    assert plans(Sender(best_plan(288, 2.0)), slower)[-1].why == SLOW_LINK


def test_a_standstill_is_met_with_larger_steps() -> None:
    steps = [plans(Sender(best_plan(288, 2.0)), [bad] * 4)[-1] for bad in (LATE, STUCK)]
    assert steps[1].fps < steps[0].fps


def test_silence_of_a_camera_says_nothing_about_the_way() -> None:
    sender = Sender(best_plan(288, 2.0))
    plans(sender, [LATE] * 4)
    before = sender.plan
    assert set(plans(sender, [Report(1.0)] * 100)) == {before}


def test_recovery_is_slow_and_complete() -> None:
    sender = Sender(best_plan(288, 2.0))
    plans(sender, [LATE] * 30)
    worst, best = sender.plan, sender.best
    after = plans(sender, [GOOD] * 600)
    assert after[5] == worst and after[-1] == best
    changes = sum(a != b for a, b in zip(after, after[1:], strict=False))
    assert changes <= 8 and after.index(best) >= 7 * RECOVER_S


def test_the_wait_grows_while_going_down_brings_trouble_back_and_shrinks_again() -> None:
    ladder = Ladder(4, 1.0)
    ladder.trouble(1.0)
    for _ in range(6):
        while ladder.level:
            ladder.calm(1.0)
        ladder.trouble(1.0)
    assert ladder.wait_s == RECOVER_MOST_S
    for _ in range(2000):
        ladder.calm(1.0)
    assert (ladder.level, ladder.wait_s) == (0, RECOVER_S)


# ---------------------------------------------------------------- a slow model

def test_a_slow_model_costs_rate_only() -> None:
    sender = Sender(best_plan(288, 2.0))
    for second in range(60):
        sender.heard(GOOD, stats(dropped=second))
    assert sender.plan == Plan(288, 1.0, 0.8, 1.0, BUSY_MODEL)
    for _ in range(300):
        sender.heard(GOOD, stats(dropped=59))
    assert sender.plan == sender.best


def test_lag_counts_as_well_and_a_short_one_does_not() -> None:
    sender = Sender(best_plan(288, 2.0))
    plans(sender, [GOOD] * 3, stats(lag_s=2.0))
    assert sender.plan == sender.best
    plans(sender, [GOOD] * 3, stats(lag_s=2.0))
    assert sender.plan.why == BUSY_MODEL


def test_what_was_dropped_before_this_page_came_does_not_count() -> None:
    assert set(plans(Sender(best_plan()), [GOOD] * 30, stats(dropped=9999))) == {best_plan()}


# ---------------------------------------------------------------- a simulated way

@dataclass
class Way:
    """A line of so many bytes a second; two pictures at most under way, as the page does it."""

    bytes_per_s: float

    def second(self, plan: Plan) -> Report:
        size = 15_000 * (plan.side / 288) ** 2 * plan.quality / 0.8
        trip = size / self.bytes_per_s
        sent = min(plan.fps, 1 / trip)
        busy = sent >= 1 / trip
        return Report(1.0, sent=sent, late=plan.fps - sent, bytes=sent * size,
                      round_trip_s=2 * trip if busy else trip)


@pytest.mark.parametrize("bytes_per_s", [4_000, 12_000, 20_000, 45_000, 59_000, 1e6])
def test_on_a_steady_way_it_settles(bytes_per_s: float) -> None:
    sender, way, changes, late = Sender(best_plan(288, 2.0)), Way(bytes_per_s), 0, 0.0
    for second in range(1200):
        report = way.second(sender.plan)
        changed = sender.heard(report, None) is not None
        if second >= 600:
            changes, late = changes + changed, late + report.late / report.due
    assert changes <= 12, "it swings"
    if bytes_per_s >= 12_000:
        assert late / 600 <= 0.1


# ---------------------------------------------------------------- what a page reports

def test_a_report_is_read() -> None:
    message = {"type": "sending", "seconds": 1, "sent": 4, "same": 2, "late": 1, "bytes": 5e4,
               "round_trip_s": None}
    report = Report.of(message)
    assert report == Report(1, 4, 2, 1, 5e4, None) and report.due == 7


@pytest.mark.parametrize("name", ["seconds", "sent", "same", "late", "bytes", "round_trip_s"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1, "4", True, [], {}, 10**400])
def test_a_number_that_is_none_is_refused(name: str, value: object) -> None:
    with pytest.raises(StreamAssistError, match=r"unreadable; reload it\.$"):
        Report.of({"seconds": 1.0, name: value})


def test_boasting_is_cut_down() -> None:
    boast = dict.fromkeys(("seconds", "sent", "same", "late", "bytes", "round_trip_s"), 1e200)
    assert Report.of(boast) == Report(10.0, 1e4, 1e4, 1e4, 1e9, 60.0)


def test_any_report_leaves_a_plan_within_bounds() -> None:
    values = (0, 1e-9, 3, 1e200)
    sender = Sender(best_plan(288, 2.0))
    for i in range(4**5):
        numbers = [values[i // 4**k % 4] for k in range(5)]
        message = dict(zip(("seconds", "sent", "same", "late", "round_trip_s"), numbers,
                           strict=True))
        sender.heard(Report.of(message), stats(i, float(i % 3)))
        assert SIDES[0] <= sender.plan.side <= 288 and RATES[0] <= sender.plan.fps <= 4
        assert 0.5 <= sender.plan.quality <= 0.8
