"""Staged streams, playing policies over recorded signals, the tables."""
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks import timing_table
from benchmarks.needles import Material, Photo
from benchmarks.timing_goals import SHIPPED, GoalRow, forward, goal_hits, rises, wilson
from benchmarks.timing_grid import SHARES, Recorded, Row, as_often, blocks_of, numbers_of, paired
from benchmarks.timing_play import Always, Said, play, watch
from benchmarks.timing_record import kept, signals_of
from benchmarks.timing_scores import Hits
from benchmarks.timing_streams import SHOWN_S, TWICE, Staged, Watch, build, build_rules
from streamassist.response import FlagHead
from streamassist.response.yes_no import GoalYesNo
from streamassist.types import FrameSignals

MATERIAL = Material(
    {"clip one": 30.0, "clip two": 12.0, "short": 2.0}, frozenset({0}),
    tuple(Photo(f"{i}.jpg", frozenset({i, 0}), frozenset({i, 0})) for i in range(1, 25)),
)


class Told:
    """A scene in which every frame is told alike, and differs from those of another cut."""

    def __init__(self, cuts: Sequence[float], texts: bool = True):
        self.cuts, self.texts = cuts, texts

    def place(self, tick: int) -> int:
        return sum(c <= tick / 2 for c in self.cuts)

    def novelty(self, tick: int, spoken: int | None) -> float:
        return 1.0 if spoken is None or self.place(tick) != self.place(spoken) else 0.0

    def told(self, tick: int) -> list[int]:
        return [1] * 6

    def text(self, tick: int) -> str:
        return f"place {self.place(tick)} is quite unlike number {7 ** self.place(tick)}"


class Shows:
    shows = {"1.jpg": frozenset({1})}


def staged() -> Staged:
    stream = Staged(2.0, [("clip", i) for i in range(80)], [10.0, 20.0, 30.0])
    stream.pictures = [(10.0, 20.0, "1.jpg")]
    stream.watches = [Watch(0, 1, 5.0, 35.0, 10.0, 20.0), Watch(1, 2, 5.0, 35.0, 20.0, 30.0)]
    return stream


def signals(flags: dict[int, float], scores: dict[int, dict[int, float]] | None = None):
    out = []
    for tick in range(80):
        p_now = {w.id: 0.0 for w in staged().in_force(tick / 2)}
        p_now |= {k: v for k, v in (scores or {}).get(tick, {}).items() if k in p_now}
        out.append(FrameSignals(t=tick / 2, frame=tick, p_silence=1 - flags.get(tick, 0.0),
                                p_now=p_now))
    return out


def recorded(flags: dict[int, float], scores=None) -> Recorded:
    stream = staged()
    return Recorded([stream], [signals(flags, scores)], [Told(stream.cuts)], Shows())


# ---------------------------------------------------------------- streams

def test_streams_are_the_same_again_and_rules_wait_for_what_only_one_picture_shows():
    streams, again = (build(MATERIAL, 2, 2.0, pictures=6) for _ in range(2))
    assert [s.key for s in streams] == [s.key for s in again] and streams[0].key != streams[1].key
    for stream in streams:
        assert len(stream.pictures) == 6 and len(stream.cuts) == 11
        assert all(b - a == SHOWN_S for a, b, _ in stream.pictures)
        assert "short" not in {source for source, _ in stream.shots}
        for w in stream.watches:
            tick = int(w.start * 2)
            assert stream.shots[tick][0] == f"{w.thing}.jpg" and w.since < w.start < w.end < w.until
            assert stream.shots[tick - 1][0] != f"{w.thing}.jpg"


def test_only_things_that_are_seen_are_waited_for():
    (stream,) = build(MATERIAL, 1, 2.0, frozenset(range(1, 9)), pictures=5)
    assert stream.watches and all(w.thing < 9 for w in stream.watches)


def test_for_rules_no_picture_comes_more_than_twice_and_none_of_a_kind_soon_again():
    streams = build_rules(MATERIAL, 2, 2.0, frozenset(range(1, 13)), pictures=12)
    shown = [file for s in streams for _, _, file in s.pictures]
    assert len(shown) == 24 and max(map(shown.count, shown)) == TWICE
    for stream in streams:
        files = [file for _, _, file in stream.pictures]
        assert all(len(set(files[i : i + 4])) == len(files[i : i + 4]) for i in range(12))
        assert len(stream.watches) == 12


# ---------------------------------------------------------------- playing

def test_a_raised_flag_is_a_remark_a_moment_later():
    flags = {0: 1.0, 20: 1.0, 60: 1.0}
    part = recorded(flags)
    said = play(FlagHead(), 0.7, part.streams[0], part.signals[0], part.scenes[0])
    assert [u.t for u in said] == [10.5, 30.5]     # not in the first seconds; two frames of three
    assert [u.tick for u in said] == [21, 61] and said[0].text != said[1].text
    assert play(FlagHead(), 1.1, part.streams[0], part.signals[0], part.scenes[0]) == []


def test_who_always_wants_to_speak_is_held_back_by_the_gate():
    part = recorded({})
    said = play(Always(), 0.5, part.streams[0], part.signals[0], part.scenes[0])
    assert [u.t for u in said] == [3.0, 10.0, 20.0, 30.0]   # repeats are not said


def test_rules_alert_while_their_thing_is_there():
    scores = {tick: {0: 0.95} for tick in (22, 23, 24)} | {12: {1: 0.95}}
    part = recorded({}, scores)
    alerts = watch(GoalYesNo(), 0.9, part.streams[0], part.signals[0], dwell_s=0.0)
    assert [(a.watch, a.t) for a in alerts] == [(1, 6.0), (0, 11.0)]
    found = goal_hits(GoalYesNo, 0.9, 0.0, part)
    assert (found.events, found.hit, found.said, found.delays) == (2, 1, 2, (1.0,))
    assert goal_hits(GoalYesNo, 0.9, 0.5, part).said == 1   # one frame alone is not confirmed


def test_ovo_forward_by_hand():
    scores = {tick: {0: 0.95} for tick in range(20, 40)}
    # Rule 0: No, Yes, Yes and once; rule 1: No (right), No, No (wrong), and never instead of once.
    assert forward(GoalYesNo, 0.9, recorded({}, scores)) == pytest.approx((4 / 6 + 1 / 2) / 2)
    assert rises([(0, 0.1), (1, 0.9), (2, 0.6), (3, 0.9), (4, 0.2), (5, 0.9)], 0.9) == 2


# ---------------------------------------------------------------- numbers

def test_numbers_and_blocks():
    part = recorded({})
    said = [[Said(10.5, 21, "a bird"), Said(11.0, 22, "nothing of it"), Said(21.0, 42, "x")]]
    numbers = numbers_of(part, said)
    assert numbers["recall"] == pytest.approx(2 / 3) == numbers["precision"] == numbers["f1"]
    assert numbers["delay_s"] == 0.75 and numbers["per_minute"] == 4.5
    assert blocks_of(part, said).tolist() == [[3.0, 2.0, 3.0]]


def test_an_interval_of_a_share():
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_paired_difference_is_of_the_same_minutes():
    ours = np.array([[10, 9, 10], [10, 8, 10]] * 20, float)
    low, high = paired(ours, ours - [0, 3, 0])
    assert low == pytest.approx(0.3) == high
    assert paired(ours, ours) == (0.0, 0.0)
    part = recorded({})
    assert as_often(0.0, part) == min(SHARES) and as_often(6.0, part) > min(SHARES)


def test_signals_come_back_from_a_file_and_a_part_is_not_taken_for_the_whole(tmp_path):
    file, made = tmp_path / "a" / "s.jsonl", signals({3: 0.5})

    def broken():
        yield made[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(file, broken)
    assert not file.exists()
    assert kept(file, lambda: iter(made)) == made == kept(file, broken)
    assert signals_of({"t": 0.0, "frame": 0, "p_yes": {"3": 0.5}, "p_now": {}, "p_graph": {},
                       "relevance": {}}).p_yes == {3: 0.5}


def row(name: str, f1: float, less: tuple[float, float]) -> Row:
    part = recorded({})
    numbers = {**numbers_of(part, [[]]), "f1": f1, "less": less}
    return Row(name, "", [[]], numbers, np.ones((1, 3)))


@pytest.mark.parametrize("sved, still, ok", [(-0.1, 0.0, True), (-0.3, 0.0, False),
                                             (-0.1, 2.0, False)])
def test_what_must_hold(tmp_path, sved, still, ok):
    rows = [row("cascade", 0.9, (0.0, 0.0)), row("sved", 0.95, (-0.4, sved + 0.2)),
            *(row(name, 0.2, (0.5, 0.8)) for name in timing_table.CONTROLS)]
    numbers = {"f1": 0.9, "recall": 0.92, "precision": 0.9, "delay_s": 0.5, "late_s": 1.0,
               "events": 100, "ovo": 0.8, "false_per_rule_hour": 1.0,
               "recall_from_to": (0.85, 0.96), "precision_from_to": (0.8, 0.95)}
    goals = [GoalRow(SHIPPED, "threshold 0.8", numbers)]
    quiet = {"remarks_per_10_min": still, "seconds": 600.0, "rules": 3, "remarks": int(still),
             "alerts_per_hour": 0.0}
    costs = [{"rules": 50, "ratio": 1.5, "frame_ms": 80.0, "every_s": 6.0, "delay_s": 3.0,
              "found": 4, "events": 5}]
    outcome = timing_table.outcome(rows, goals, quiet, costs, recorded({}))
    assert outcome.ok is ok and "cascade" in outcome.figure
    timing_table.write(tmp_path, rows, goals, quiet, costs, outcome, "a machine")
    text = (tmp_path / "timing.md").read_text()
    assert all(f"| {r.name} |" in text for r in rows) and "| 50 |" in text


def test_hits_without_events_are_no_hits():
    assert Hits(0, 0, 3).f1 == 0.0
