"""Every way of checking watch rules at the best of its grid, chosen on dev, told of the test."""
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from benchmarks.common import Sheet
from benchmarks.timing_grid import STEPS, Recorded, joined
from benchmarks.timing_play import watch
from benchmarks.timing_scores import Hits
from streamassist.response import GOALS, GoalPolicy

GRIDS: dict[str, dict[str, tuple[float, ...]]] = {"cue_jump": {"jump": (0.02, 0.04, 0.08)}}
DWELL = (0.0, 0.5, 1.0)   # seconds the condition must hold

Make = Callable[[], GoalPolicy]


@dataclass
class GoalRow:
    name: str
    setting: str
    numbers: dict[str, Any]


def goals_table(dev: Recorded, test: Recorded, sheet: Sheet) -> list[GoalRow]:
    rows = []
    for name in GOALS:
        best = max(goal_grid(name, dev), key=lambda found: found[0])
        _, settings, threshold, dwell = best
        found = goal_hits(lambda n=name, s=settings: GOALS[n](**s), threshold, dwell, test)
        told = {**settings, "threshold": round(threshold, 3), "held": dwell}
        setting = ", ".join(f"{k} {v:g}" for k, v in told.items())
        rows.append(GoalRow(name, setting, goal_numbers(found, test)))
        sheet.row(f"{name:16} recall {found.recall:.2f}, precision {found.precision:.2f} "
                  f"({setting})")
    return rows


def goal_grid(name: str, dev: Recorded) -> Iterator[tuple[float, dict[str, float], float, float]]:
    grid = GRIDS.get(name, {})
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        for threshold, dwell in product(goal_thresholds(name, settings, dev), DWELL):
            found = goal_hits(lambda s=settings: GOALS[name](**s), threshold, dwell, dev)
            yield found.f1, settings, threshold, dwell


def goal_thresholds(name: str, settings: dict[str, float], dev: Recorded) -> list[float]:
    scores = []
    for stream, signals in zip(dev.streams, dev.signals, strict=True):
        policy: GoalPolicy = GOALS[name](**settings)
        for now in signals:
            for w in stream.in_force(now.t):
                if all(w.id in getattr(now, n) for n in policy.wants(w.id, now)):
                    scores.append(policy.score(w.id, now))
    marks = np.quantile(scores, 1 - np.geomspace(0.002, 0.3, STEPS))
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
        "events": found.events, "false": found.said - found.hit,
        "false_per_rule_hour": (found.said - found.hit) / hours,
        "delay_s": float(np.median(found.delays)) if found.delays else None,
        "late_s": float(np.quantile(found.delays, 0.9)) if found.delays else None,
    }
