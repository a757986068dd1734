"""SAVEMem: three tiers of visual tokens scored by generic questions, and a gate before history.

arXiv 2605.07897, with the constants of its release. Four frames stay whole; older ones keep the
tokens that changed against the frame before or after (Otsu's threshold); the oldest are thinned by
quadrants, or have like neighbours merged. A question is answered on the whole frames alone where
these match it as well as the memory usually does.
"""
import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.memory.banks import TokenBank, total, words_of
from streamassist.memory.base import check_setting
from streamassist.memory.neighbours import change, components, otsu
from streamassist.scoring import frame_means, top_slots
from streamassist.types import VisualTokens
from streamassist.visual import places_of, rows_of

QUESTIONS = (
    "What objects are there?",
    "How many people and things are there?",
    "What is being done?",
    "What has changed?",
    "Where does everything stand?",
)
FEW = 20             # tokens: a frame with fewer is merged, not thinned
NEW_SCENE = 1.5      # times the usual change
KEEP = 0.2           # weight of a new score in the gate's running mean


@dataclass(slots=True)
class Held:
    """score: (n,) how much each token is like a generic question, on the CPU."""

    tokens: VisualTokens
    score: Tensor


@dataclass
class SaveMem(TokenBank):
    """One global gate and no task labels, unlike the release, which sets rho by the benchmark's
    category. Our inference: units are single frames; the running mean of the gate goes over the
    frames of memory, so that an answer does not depend on earlier questions; over budget, tokens
    leave the oldest tier first."""

    short: int = 4
    mid: int = 16
    rho: float = 1.0   # whole frames at least so many times as relevant as usual: no history
    _short: list[Held] = field(default_factory=list, init=False, repr=False)
    _mid: list[Held] = field(default_factory=list, init=False, repr=False)
    _long: list[Held] = field(default_factory=list, init=False, repr=False)
    _before: VisualTokens | None = field(default=None, init=False, repr=False)
    _usual: float | None = field(default=None, init=False, repr=False)
    _bank: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "short", 1, 1000)
        check_setting(self, "mid", 0, 1000)
        check_setting(self, "rho", 0, 1000)

    # ------------------------------------------------------------ watching

    def take(self, tokens: VisualTokens, look: Tensor) -> None:
        if self._bank is None:
            self._bank = torch.cat([words_of(self.model, text) for text in QUESTIONS])
        self._short.append(Held(tokens, likeness(tokens, self._bank)))
        if len(self._short) > self.short:
            left = self._changed(self._short.pop(0), self._short[0].tokens)
            self._mid += [left] if len(left.score) else []
        if len(self._mid) > self.mid:
            self._long.append(condensed(self._mid.pop(0)))
        self._fit()

    def _changed(self, held: Held, after: VisualTokens) -> Held:
        """The tokens unlike the frame after or before, but for what hardly changed at all."""
        before, self._before = self._before, held.tokens
        onward, back = change(held.tokens, after), change(held.tokens, before)
        keep = (onward > otsu(onward)) | (back > otsu(back))
        mean = float(back.mean())
        if self._usual is not None and mean <= NEW_SCENE * self._usual:
            keep &= 1 - back <= 0.8 + 0.15 * held.score
        if before is not None:
            self._usual = mean if self._usual is None else 0.9 * self._usual + 0.1 * mean
        return picked(held, keep)

    def _fit(self) -> None:
        for tier in (self._long, self._mid):
            self._drop_lowest(tier)
        while self._total() > self.budget and len(self._short) > 1:
            self._short.pop(0)

    def _drop_lowest(self, tier: list[Held]) -> None:
        """The lowest tokens of a tier, as many as are too much; a frame without any leaves."""
        while tier and (excess := self._total() - self.budget) > 0:
            owner = torch.cat([torch.full((len(h.score),), i) for i, h in enumerate(tier)])
            stay = torch.ones(len(owner), dtype=torch.bool)
            stay[torch.cat([h.score for h in tier]).argsort(stable=True)[:excess]] = False
            for i in owner[~stay].unique().tolist():
                tier[i] = picked(tier[i], stay[owner == i])
            tier[:] = [held for held in tier if len(held.score)]

    def _total(self) -> int:
        return total([h.tokens for h in (*self._long, *self._mid, *self._short)])

    # ------------------------------------------------------------ answering

    def chosen(self, question: str) -> list[VisualTokens]:
        rows, past = words_of(self.model, question), [*self._long, *self._mid]
        scores = torch.tensor([float(likeness(h.tokens, rows).mean()) for h in past])
        now = sum(float(likeness(h.tokens, rows).mean()) for h in self._short) / len(self._short)
        recent = [held.tokens for held in self._short]
        if not past or now >= self.rho * running(scores.tolist(), now):
            return recent
        best = scores.topk(how_many(scores)).indices.tolist()
        self._found = [(past[i].tokens.frame, float(scores[i])) for i in best]
        return [past[i].tokens for i in sorted(best)] + recent


def likeness(tokens: VisualTokens, rows: Tensor) -> Tensor:
    """(n,) cosine of each token with the nearest of these rows (R, D) of length 1, on the CPU."""
    unit = F.normalize(tokens.embeds.float(), dim=-1)
    return (unit @ rows.to(unit).T).amax(1).cpu()


def picked(held: Held, keep: Tensor) -> Held:
    """The frame with only the tokens where `keep` (n,)."""
    return Held(rows_of(held.tokens, keep.nonzero()[:, 0]), held.score[keep])


def condensed(held: Held) -> Held:
    """A frame as it enters the oldest tier."""
    count, mean = len(held.score), float(held.score.mean())
    if count < FEW:
        return merged(held, components(held.tokens))
    return thinned(held, max(1, round(count * min(0.4, max(0.15, 0.15 + 0.25 * mean)))))


def thinned(held: Held, count: int) -> Held:
    """The best `count` tokens, a quarter of them from each quadrant as far as it has them."""
    (_, height, width), at = held.tokens.grid, places_of(held.tokens)
    quadrant = (at // width * 2 // height) * 2 + at % width * 2 // width
    sure = torch.zeros(len(at), dtype=torch.bool)
    for corner in range(4):
        where = (quadrant == corner).nonzero()[:, 0]
        sure[where[held.score[where].topk(min(count // 4, len(where))).indices]] = True
    keep = torch.zeros(len(at), dtype=torch.bool)
    keep[top_slots(held.score, count, sure)] = True
    return picked(held, keep)


def merged(held: Held, label: Tensor) -> Held:
    """The mean of the tokens of each component, where its first one stood."""
    tokens, first = held.tokens, label.unique()   # a label is the row of the component's first

    def means(rows: Tensor) -> Tensor:
        return frame_means(rows, label)[1].to(rows.dtype)

    mixed = replace(
        tokens, embeds=means(tokens.embeds), places=places_of(tokens)[first],
        deepstack=tuple(map(means, tokens.deepstack)),
    )
    return Held(mixed, means(held.score[:, None])[:, 0])


def running(scores: list[float], now: float) -> float:
    """The running mean over the frames of history and then the whole frames."""
    mean = scores[0]
    for score in (*scores[1:], now):
        mean += KEEP * (score - mean)
    return mean


def how_many(scores: Tensor) -> int:
    """All frames of history where they hardly differ in relevance, else nine of ten."""
    spread = float(scores.std(correction=0) / scores.mean().abs().clamp(min=1e-6))
    return math.ceil(len(scores) * (1 - 0.1 * min(1.0, max(0.0, (spread - 0.05) / 0.25))))
