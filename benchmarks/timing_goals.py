"""Every way of checking watch rules at the best of its grid, chosen on dev, told of the test."""
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from benchmarks import timing_grid
from benchmarks.common import Sheet
from benchmarks.timing_grid import Recorded, joined
from benchmarks.timing_play import watch
from benchmarks.timing_scores import Hits, ovo_forward, ovo_repeats, ovo_yes_no
from benchmarks.timing_streams import Staged
from streamassist.response import GOALS, GoalPolicy
from streamassist.types import FrameSignals

GRIDS: dict[str, dict[str, tuple[float, ...]]] = {"cue_jump": {"jump": (0.02, 0.04, 0.08)}}
DWELL = (0.0, 0.5, 1.0)   # seconds the condition must hold

OURS, SHIPPED = "yes_no", "yes_no, as it ships"
Z = 1.96   # of 95 %

Make = Callable[[], GoalPolicy]


@dataclass
class GoalRow:
    name: str
    setting: str
    numbers: dict[str, Any]


def goals_table(dev: Recorded, test: Recorded, compared: int, sheet: Sheet) -> list[GoalRow]:
    """All on the first streams of the test part, of which all signals are there; ours as it ships
    on all of them."""
    rows, first = [], test.first(compared)
    for name in GOALS:
        best = max(goal_grid(name, dev.first(compared)), key=lambda found: found[0])
        rows.append(goal_row(name, name, best, first))
    shipped = (0.0, {}, GOALS[OURS].hi, GOALS[OURS].held_s)
    rows.append(goal_row(SHIPPED, OURS, shipped, test))
    for row in rows:
        n = row.numbers
        sheet.row(f"{row.name:18} recall {n['recall']:.2f}, precision {n['precision']:.2f} of "
                  f"{n['events']} ({row.setting})")
    return rows


def goal_row(
    title: str, name: str, best: tuple[float, dict[str, float], float, float], part: Recorded
) -> GoalRow:
    _, settings, threshold, dwell = best

    def make() -> GoalPolicy:
        return GOALS[name](**settings)

    found = goal_hits(make, threshold, dwell, part)
    told = {**settings, "threshold": round(threshold, 3), "held": dwell}
    setting = ", ".join(f"{k} {v:g}" for k, v in told.items())
    numbers = {**goal_numbers(found, part), "ovo": forward(make, threshold, part)}
    return GoalRow(title, setting, numbers)


def goal_grid(name: str, dev: Recorded) -> Iterator[tuple[float, dict[str, float], float, float]]:
    grid = GRIDS.get(name, {})
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        for threshold, dwell in product(goal_thresholds(name, settings, dev), DWELL):
            found = goal_hits(lambda s=settings: GOALS[name](**s), threshold, dwell, dev)
            yield found.f1, settings, threshold, dwell


def goal_thresholds(name: str, settings: dict[str, float], dev: Recorded) -> list[float]:
    scores = [
        score for stream, signals in zip(dev.streams, dev.signals, strict=True)
        for seen in scores_of(GOALS[name](**settings), stream, signals).values()
        for _, score in seen
    ]
    marks = np.quantile(scores, 1 - np.geomspace(0.002, 0.3, timing_grid.STEPS))
    return sorted({round(float(m), 6) for m in (*marks, GOALS[name].hi) if m > 0})


def goal_hits(
    make: Make, threshold: float, dwell: float, part: Recorded
) -> Hits:
    """An alert is right while its thing is on screen, the first one only."""
    found = []
    for stream, signals in zip(part.streams, part.signals, strict=True):
        alerts = watch(make(), threshold, stream, signals, dwell_s=dwell)
        delays = []
        for w in stream.watches:
            first = [a.t for a in alerts if a.watch == w.id and w.start <= a.t < w.end]
            delays += [first[0] - w.start] if first else []
        found.append(Hits(len(stream.watches), len(delays), len(alerts), tuple(delays)))
    return joined(found)


def goal_numbers(found: Hits, part: Recorded) -> dict[str, Any]:
    hours = sum(w.until - w.since - (w.end - w.start) for s in part.streams
                for w in s.watches) / 3600
    return {
        "f1": found.f1, "recall": found.recall, "precision": found.precision,
        "events": found.events, "recall_from_to": wilson(found.hit, found.events),
        "precision_from_to": wilson(found.hit, found.said), "false": found.said - found.hit,
        "false_per_rule_hour": (found.said - found.hit) / hours,
        "delay_s": float(np.median(found.delays)) if found.delays else None,
        "late_s": float(np.quantile(found.delays, 0.9)) if found.delays else None,
    }


def forward(make: Make, threshold: float, part: Recorded) -> float:
    """OVO-Bench's forward tasks on our streams, scored as officially: asked again and again whether
    it has come true (SSR, CRR: the reply is Yes or No by the score), and at the end how often
    (REC)."""
    right: dict[str, list[bool]] = {"asked": [], "REC": []}
    for stream, signals in zip(part.streams, part.signals, strict=True):
        scores = scores_of(make(), stream, signals)
        for w in stream.watches:
            for t, label in ((w.start - 3, False), (w.start + 2, True), (w.start + 4, True)):
                seen = [score for at, score in scores[w.id] if at <= t]
                if seen:
                    reply = "Yes" if seen[-1] >= threshold else "No"
                    right["asked"].append(ovo_yes_no(reply, label))
            right["REC"].append(ovo_repeats(str(rises(scores[w.id], threshold)), 1))
    return ovo_forward(right)


def scores_of(
    policy: GoalPolicy, stream: Staged, signals: Sequence[FrameSignals]
) -> dict[int, list[tuple[float, float]]]:
    """(t, score) of every rule while it is in force."""
    scores: dict[int, list[tuple[float, float]]] = {w.id: [] for w in stream.watches}
    for now in signals:
        for w in stream.in_force(now.t):
            if all(w.id in getattr(now, name) for name in policy.wants(w.id, now)):
                scores[w.id].append((now.t, policy.score(w.id, now)))
    return scores


def rises(scores: Sequence[tuple[float, float]], threshold: float) -> int:
    """How often a score comes up to the threshold after having been at half of it or less."""
    count, armed = 0, True
    for _, score in scores:
        if armed and score >= threshold:
            count, armed = count + 1, False
        armed = armed or score <= threshold / 2
    return count


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson's score)."""
    if not count:
        return 0.0, 1.0
    share, spread = right / count, Z * Z / count
    middle = share + spread / 2
    half = Z * (share * (1 - share) / count + spread / (4 * count)) ** 0.5
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)
