"""How well moments to speak were chosen: the published measures, each as its source defines it.

Notation: events j with span [s, e] in seconds, predictions at times u in order. All are per stream;
an event that starts later counts as the next one.
"""
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

WINDOW_S = 3.0     # after an event's start (ViSpeak, StreamGaze)
PO_S = 2.0         # of StreamingBench's proactive output, to either side
TOP = 2            # of PAUC's judge
SILENT_PAUC = 0.25

Span = tuple[float, float]


@dataclass(frozen=True)
class Hits:
    """events, hit, said: counts; about: predictions that are the first in an event's window;
    delays: of the hits, in seconds."""

    events: int
    hit: int
    said: int
    delays: tuple[float, ...] = field(default=())

    @property
    def recall(self) -> float:
        return self.hit / self.events if self.events else 0.0

    @property
    def precision(self) -> float:
        return self.hit / self.said if self.said else 0.0

    @property
    def f1(self) -> float:
        total = self.recall + self.precision
        return 2 * self.recall * self.precision / total if total else 0.0


def hits(starts: Sequence[float], said: Sequence[float], window_s: float = WINDOW_S) -> Hits:
    """First prediction in [s, s + window_s] of each event; no prediction counts for two."""
    free, delays = sorted(said), []
    for start in sorted(starts):
        found = next((u for u in free if start <= u <= start + window_s), None)
        if found is not None:
            free.remove(found)
            delays.append(found - start)
    return Hits(len(starts), len(delays), len(said), tuple(delays))


def trigger_accuracy(
    starts: Sequence[float], said: Sequence[float], window_s: float = WINDOW_S
) -> float:
    """Share of events whose first prediction since the event before lies in [s, s + window_s]; an
    earlier one is premature and wrong. (No official definition was found; this is ours.)"""
    right, before = 0, float("-inf")
    for start in sorted(starts):
        first = next((u for u in sorted(said) if u > before), None)
        right += first is not None and start <= first <= start + window_s
        before = start + window_s
    return right / len(starts) if starts else 0.0


def omnistar(times: Sequence[float], said: Sequence[float]) -> dict[str, float]:
    """TimDiff, TimRedun (lower is better), TimCover (higher), as OmniStar's code makes spans of the
    annotated times: [g1, g1], then [g(j-1) + 1, gj]. A miss costs only its span's length."""
    times = sorted(times)
    spans = [(times[0], times[0])] + [(a + 1, b) for a, b in zip(times, times[1:], strict=False)]
    apart, extra, covered = [], [], []
    for start, end in spans:
        inside = [u for u in sorted(said) if start <= u <= end]
        apart.append(inside[0] - start if inside else end - start)
        extra.append(abs(1 - len(inside)))
        covered.append(bool(inside))
    names = ("TimDiff", "TimRedun", "TimCover")
    return {n: float(np.mean(v)) for n, v in zip(names, (apart, extra, covered), strict=True)}


def pauc(span: Span, replies: Sequence[tuple[float, float]], weight: float = 0.5) -> float:
    """ProactiveVideoQA's area, 0..1: replies are (time, judge's score 0..2 of all said so far).
    `weight` 0 counts lateness in full, 1 not at all. Silence is 0.25."""
    start, end = span
    inside = [(t, score) for t, score in sorted(replies) if start <= t <= end]
    if not inside or end <= start:
        return SILENT_PAUC
    at = [start + (1 - weight) * (t - start) for t, _ in inside] + [end]
    area = 0.5 * (at[0] - start)
    for k, (_, score) in enumerate(inside):
        area += (at[k + 1] - at[k]) * score
    return area / ((end - start) * TOP)


def in_span(
    spans: Sequence[Span], replies: Sequence[tuple[float, float]]
) -> float:
    """MMDuet: mean over events of the mean score (1..5) of the replies inside; without any, 1."""
    means = []
    for start, end in spans:
        scores = [score for t, score in replies if start <= t <= end]
        means.append(float(np.mean(scores)) if scores else 1.0)
    return float(np.mean(means)) if means else 1.0


def proactive_output(starts: Sequence[float], said: Sequence[float]) -> float:
    """StreamingBench: a first "yes" within 2 s of the moment, to either side."""
    near = [any(abs(u - s) <= PO_S for u in said) for s in starts]
    return float(np.mean(near)) if near else 0.0


def ovo_repeats(reply: str, count: int) -> bool:
    """OVO-Bench's REC by the official scorer: all digits of the reply, joined, are the count."""
    digits = "".join(c for c in reply if c.isdigit())
    return bool(digits) and int(digits) == count


def ovo_yes_no(reply: str, label: bool) -> bool:
    """OVO-Bench's SSR and CRR: the reply holds Yes or No as labelled; bare Y and N are accepted."""
    word = "yes" if label else "no"
    return word in reply.lower() or reply.strip().upper() == word[0].upper()


def ovo_forward(right: dict[str, Sequence[bool]]) -> float:
    """Mean of the tasks' hits per query."""
    return float(np.mean([np.mean(task) for task in right.values() if len(task)]))


def ovo_decayed(right: Sequence[bool], late_s: Sequence[float]) -> float:
    """The paper's time decay for SSR and CRR, never released: halved by two seconds; answers before
    their time count nothing, and the sum is over the number of queries (both are ours)."""
    worth = [ok * 2 ** (-0.5 * late) if late >= 0 else 0.0
             for ok, late in zip(right, late_s, strict=True)]
    return float(np.mean(worth)) if worth else 0.0


def duplicates(texts: Sequence[str]) -> float:
    """Share of remarks that say word for word what one of the five before them said."""
    words = [text.lower().strip(" .!") for text in texts]
    again = [word in words[max(0, i - 5) : i] for i, word in enumerate(words)]
    return float(np.mean(again)) if again else 0.0
