"""Every response policy at the best of its grid: chosen on the dev part, told of the test part."""
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from benchmarks.common import Sheet
from benchmarks.timing_play import Always, Chance, Said, play
from benchmarks.timing_record import Reader, Scene
from benchmarks.timing_scores import (
    WINDOW_S,
    Hits,
    duplicates,
    hits,
    in_span,
    omnistar,
    pauc,
    proactive_output,
    trigger_accuracy,
)
from benchmarks.timing_streams import Staged
from models.nano.questions import things_in
from streamassist.response import METHODS, ResponsePolicy
from streamassist.response.timer import Timer
from streamassist.types import FrameSignals

STEPS = 10            # thresholds of a grid: shares of the frames that would pass
MOST_RATE = 1.1       # times the rate of the events
SHARES = tuple(round(0.1 * k, 1) for k in range(1, 10))   # for chance
BLOCK_S = 60.0        # of the bootstrap
DRAWS = 2000
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {   # settings beside the threshold
    "drop_valley": {"window_s": (2.0, 4.0, 8.0)},
    "score_sum": {"enough": (0.5, 1.0, 2.0)},
    "flag_head": {"held_s": (1.0, 1.5, 2.0)},
    "interval": {"held_s": (0.0, 1.0, 1.5)},
    "change_gate": {"patience_s": (0.5, 2.0)},
    "cascade": {"low": (0.1, 0.25, 0.4)},
}


@dataclass
class Recorded:
    """A part: its streams, the signals of each, and what is worked out while a policy decides."""

    streams: list[Staged]
    signals: list[list[FrameSignals]]
    scenes: list[Scene]
    reader: Reader

    def first(self, count: int) -> "Recorded":
        """Only so many streams."""
        return replace(self, streams=self.streams[:count], signals=self.signals[:count],
                       scenes=self.scenes[:count])

    @property
    def minutes(self) -> float:
        return sum(s.seconds for s in self.streams) / 60

    @property
    def rate(self) -> float:
        """Events a minute."""
        return sum(len(s.cuts) for s in self.streams) / self.minutes


@dataclass
class Row:
    """A policy as it was set, and what came of it in each stream of the test part."""

    name: str
    setting: str
    said: list[list[Said]]
    numbers: dict[str, Any]
    blocks: np.ndarray        # (blocks, 3): events, hits, said


# ---------------------------------------------------------------- remarks

Make = Callable[[], ResponsePolicy]


def controls() -> Iterator[tuple[str, Make, float]]:
    yield "always", Always, 0.5
    yield "every 5 s", lambda: Timer(5.0), 0.5


def remarks_table(dev: Recorded, test: Recorded, sheet: Sheet) -> list[Row]:
    rows = [row_of(name, "", make, hi, test) for name, make, hi in controls()]
    for name in METHODS:
        rows.append(best_row(name, dev, test))
        sheet.row(line_of(rows[-1]))
    default = next(row for row in rows if row.name == "cascade")
    share = as_often(default.numbers["per_minute"], test)
    rows.append(row_of("random, as often", f"share {share:g}", lambda: Chance(share), 0.5, test))
    for row in rows:
        row.numbers["less"] = paired(default.blocks, row.blocks)
    return rows


def as_often(rate: float, part: Recorded) -> float:
    """The chance at a frame with which as many remarks a minute come through the gate."""
    said = {share: play_all(lambda s=share: Chance(s), 0.5, part) for share in SHARES}
    rates = {share: sum(map(len, told)) / part.minutes for share, told in said.items()}
    return min(SHARES, key=lambda share: abs(rates[share] - rate))


def best_row(name: str, dev: Recorded, test: Recorded) -> Row:
    """The best of its grid on dev, on test."""
    best = max(grid_of(name, dev), key=lambda found: found[0])
    _, settings, hi = best
    told = ", ".join(f"{k} {v:g}" for k, v in {**settings, "threshold": round(hi, 3)}.items())
    return row_of(name, told, lambda: METHODS[name](**settings), hi, test)


def grid_of(name: str, dev: Recorded) -> Iterator[tuple[float, dict[str, float], float]]:
    """(F1 on dev, or less than nothing where it speaks too often, settings, threshold)."""
    grid = GRIDS.get(name, {})
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        for hi in thresholds(name, settings, dev):
            said = play_all(lambda s=settings: METHODS[name](**s), hi, dev)
            total = total_of(dev, said)
            rate = total.said / dev.minutes
            allowed = rate <= MOST_RATE * dev.rate
            yield (total.f1 if allowed else -rate), settings, hi


def thresholds(name: str, settings: dict[str, float], dev: Recorded) -> list[float]:
    """Quantiles of its scores on dev, as if nothing were said, and the published one."""
    scores = []
    for signals, scene in zip(dev.signals, dev.scenes, strict=True):
        policy = METHODS[name](**settings)
        for tick, now in enumerate(signals):
            if "ppl_ratio" in policy.wants(now) and tick:
                now = replace(now, ppl_ratio=scene.surprise(tick, tick - 1))
            scores.append(policy.score(replace(now, novelty=now.change)))
    marks = np.quantile(scores, 1 - np.geomspace(0.01, 0.6, STEPS))
    return sorted({round(float(m), 6) for m in (*marks, METHODS[name].hi) if m > 0})


def play_all(make: Make, hi: float, part: Recorded) -> list[list[Said]]:
    return [play(make(), hi, *one) for one in
            zip(part.streams, part.signals, part.scenes, strict=True)]


def row_of(name: str, setting: str, make: Make, hi: float, part: Recorded) -> Row:
    said = play_all(make, hi, part)
    return Row(name, setting, said, numbers_of(part, said), blocks_of(part, said))


def total_of(part: Recorded, said: Sequence[Sequence[Said]]) -> Hits:
    found = [hits(s.cuts, [u.t for u in told]) for s, told in zip(part.streams, said, strict=True)]
    return joined(found)


def joined(found: Sequence[Hits]) -> Hits:
    delays = tuple(d for one in found for d in one.delays)
    return Hits(*(sum(getattr(one, n) for one in found) for n in ("events", "hit", "said")), delays)


def numbers_of(part: Recorded, said: Sequence[Sequence[Said]]) -> dict[str, Any]:
    total, texts = total_of(part, said), [u.text for told in said for u in told]
    pairs = list(zip(part.streams, said, strict=True))
    star = [omnistar(s.cuts, [u.t for u in told]) for s, told in pairs]
    mean = {name: float(np.mean([one[name] for one in star])) for name in star[0]}
    return {
        "f1": total.f1, "recall": total.recall, "precision": total.precision, "said": total.said,
        "per_minute": total.said / part.minutes,
        "delay_s": float(np.median(total.delays)) if total.delays else None,
        "late_s": float(np.quantile(total.delays, 0.9)) if total.delays else None,
        "trigger": float(np.mean([trigger_accuracy(s.cuts, [u.t for u in t]) for s, t in pairs])),
        "po": float(np.mean([proactive_output(s.cuts, [u.t for u in t]) for s, t in pairs])),
        **mean,
        "pauc": 100 * float(np.mean([judged_area(s, told, part.reader) for s, told in pairs])),
        "in_span": float(np.mean([judged_span(s, told, part.reader) for s, told in pairs])),
        "duplicates": duplicates(texts),
    }


def judge(text: str, shows: frozenset[int]) -> int:
    """0..2: nothing of what the picture's captions name, something, at least half of what is
    said."""
    named = things_in([text])
    right = len(named & shows)
    return 0 if not right else 2 if 2 * right >= len(named) else 1


def judged_area(stream: Staged, told: Sequence[Said], reader: Reader) -> float:
    """PAUC over the pictures of a stream, of all that was said so far about each."""
    areas = []
    for start, end, file in stream.pictures:
        best, replies = 0, []
        for u in told:
            if start <= u.t <= end:
                best = max(best, judge(u.text, reader.shows[file]))
                replies.append((u.t, float(best)))
        areas.append(pauc((start, end), replies))
    return float(np.mean(areas))


def judged_span(stream: Staged, told: Sequence[Said], reader: Reader) -> float:
    means = [in_span([(start, end)],
                     [(u.t, 1.0 + 2 * judge(u.text, reader.shows[file])) for u in told])
             for start, end, file in stream.pictures]
    return float(np.mean(means))


# ---------------------------------------------------------------- intervals

def blocks_of(part: Recorded, said: Sequence[Sequence[Said]]) -> np.ndarray:
    """Events, hits and remarks of each minute."""
    rows = []
    for stream, told in zip(part.streams, said, strict=True):
        times = [u.t for u in told]
        for begin in np.arange(0, stream.seconds, BLOCK_S):
            cuts = [c for c in stream.cuts if begin <= c < begin + BLOCK_S]
            inside = [u for u in times if begin <= u < begin + BLOCK_S]
            near = [u for u in times if begin <= u < begin + BLOCK_S + WINDOW_S]
            rows.append((len(cuts), hits(cuts, near).hit, len(inside)))
    return np.array(rows, float)


def f1_of(sums: np.ndarray) -> np.ndarray:
    """(..., 3) -> (...): 2 hits / (events + said)."""
    return 2 * sums[..., 1] / np.maximum(1, sums[..., 0] + sums[..., 2])


def paired(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """95 % of our F1 less theirs, over the same minutes."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(ours), (DRAWS, len(ours)))
    apart = f1_of(ours[picks].sum(1)) - f1_of(theirs[picks].sum(1))
    return tuple(float(q) for q in np.quantile(apart, (0.025, 0.975)))


def line_of(row: Row) -> str:
    n = row.numbers
    return (f"{row.name:18} F1 {n['f1']:.2f}, recall {n['recall']:.2f}, precision "
            f"{n['precision']:.2f}, {n['per_minute']:.1f} a minute ({row.setting})")
