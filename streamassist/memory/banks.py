"""Banks of visual tokens, kept before the language model and read by it when a question comes.

The stream's own cache holds the last frames alone, for rules and remarks. A question is answered on
a cache of its own: the prompt, then what the bank chooses, in order of time, the newest frame last
and whole. What the last answer's cache shares with the next one is not read again.
"""
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import (
    MAX_TOKENS,
    MemoryPolicy,
    check_setting,
    drop_frames,
    frame_sizes,
    oldest_until,
)
from streamassist.scoring import frame_means
from streamassist.types import VideoLLM, VisualTokens
from streamassist.visual import look_of, places_of

MAX_FRAMES = 10_000


@dataclass
class TokenBank(MemoryPolicy):
    """A method says what becomes of a frame (`take`) and what a question is answered on (`chosen`).

    budget: tokens of the bank and of an answer's cache, the newest frame included, the prompt not;
    frames: the stream's own cache keeps that many at most.
    """

    budget: int = 512
    frames: int = 4
    _newest: VisualTokens | None = field(default=None, init=False, repr=False)
    _seen: int = field(default=0, init=False, repr=False)
    _found: list[tuple[int, float]] = field(default_factory=list, init=False, repr=False)
    _answer: KVCache | None = field(default=None, init=False, repr=False)
    _read: list[tuple[VisualTokens, int]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)
        check_setting(self, "frames", 1, MAX_FRAMES)

    def reset(self) -> None:
        """Every field that is no setting is as it was at first."""
        for state in (f for f in fields(self) if not f.init):
            fresh = state.default_factory() if callable(state.default_factory) else state.default
            setattr(self, state.name, fresh)

    def take(self, tokens: VisualTokens, look: Tensor) -> None:
        """Put a frame into the bank and bring the bank back to the budget; `look`: see `look_of`.
        """
        raise NotImplementedError

    def chosen(self, question: str) -> list[VisualTokens]:
        """What to answer on: in order of time, the newest frame last; the same objects until a
        frame comes. Fills `_found` where a question decides what is recalled."""
        raise NotImplementedError

    # ------------------------------------------------------------ hooks

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        look, bare = look_of(tokens), replace(tokens, signature=None)
        self._newest = bare
        self.take(bare, look)
        self._seen += 1

    def after_prefill(self, cache: KVCache) -> None:
        held, counts = frame_sizes(cache)
        excess = sum(counts[-self.frames :]) - self.budget
        spare = oldest_until(held[-self.frames :], counts[-self.frames :], excess)
        drop_frames(cache, set(held[: -self.frames]) | spare)

    def before_answer(self, cache: KVCache, question: str) -> KVCache:
        """The stream's own cache while that holds every frame seen, else one made of the bank."""
        self._found = []
        if self._seen == len(cache.frames()):
            return cache
        wanted = within(self.chosen(question), self.budget)
        answer = self._shared_start(cache, wanted)
        for tokens in wanted[len(self._read) :]:
            self.model.forward(self.model.frame_chunk(tokens, answer.next_position), answer)
            self._read.append((tokens, answer.size))
        return answer

    def _shared_start(self, cache: KVCache, wanted: Sequence[VisualTokens]) -> KVCache:
        """The last answer's cache, cut where it ceases to be what is wanted now."""
        if self._answer is None:
            self._answer, self._read = cache.opening(), []
        pairs = list(zip((tokens for tokens, _ in self._read), wanted, strict=False))
        shared = next((i for i, (a, b) in enumerate(pairs) if a is not b), len(pairs))
        del self._read[shared:]
        self._answer.truncate(self._read[-1][1] if shared else self._answer.num_pinned)
        return self._answer

    def evidence(self) -> list[tuple[int, float]]:
        return self._found


# ---------------------------------------------------------------- what banks are made of

def cost(tokens: VisualTokens) -> int:
    """Slots a frame takes in a cache, the words around it included."""
    return len(tokens.before) + tokens.embeds.shape[0] + len(tokens.after)


def total(held: Sequence[VisualTokens]) -> int:
    return sum(map(cost, held))


def within(held: list[VisualTokens], budget: int) -> list[VisualTokens]:
    """Without the oldest ones that do not fit; the newest always stays."""
    excess, first = total(held) - budget, 0
    while excess > 0 and first < len(held) - 1:
        excess, first = excess - cost(held[first]), first + 1
    return held[first:]


def with_newest(held: Sequence[VisualTokens], newest: VisualTokens) -> list[VisualTokens]:
    """In order of time, and the newest frame once: last and whole."""
    old = [tokens for tokens in held if tokens.frame != newest.frame]
    return [*sorted(old, key=lambda tokens: tokens.pts), newest]


def half(size: int) -> int:
    return (size + 1) // 2


def shrink(tokens: VisualTokens, height: int, width: int) -> VisualTokens:
    """A map of height x width cells (never more than the frame has), each the mean of the rows in
    it; a cell all of whose rows were dropped takes the frame's mean. Grids of one picture only."""
    _, rows, columns = tokens.grid
    height, width = min(height, rows), min(width, columns)
    if (height, width) == (rows, columns) and tokens.places is None:
        return tokens
    at = places_of(tokens)
    cell = (at // columns * height // rows) * width + at % columns * width // columns

    def pooled(values: Tensor) -> Tensor:
        present, means = frame_means(values, cell)
        whole = values.float().mean(0).repeat(height * width, 1)
        whole[present.to(whole.device)] = means
        return whole.to(values.dtype)

    return replace(
        tokens, embeds=pooled(tokens.embeds), grid=(1, height, width), places=None,
        deepstack=tuple(map(pooled, tokens.deepstack)),
    )


def blend(maps: Sequence[VisualTokens], weights: Sequence[float]) -> VisualTokens:
    """Weighted mean of maps of the same size, also of their times; else like the heaviest one."""
    share = torch.tensor(weights, dtype=torch.float32) / sum(weights)
    heaviest = maps[int(share.argmax())]

    def mean(levels: Sequence[Tensor]) -> Tensor:
        rows = torch.stack([level.float() for level in levels])
        return torch.einsum("k,knd->nd", share.to(rows.device), rows).to(levels[0].dtype)

    return replace(
        heaviest, embeds=mean([m.embeds for m in maps]),
        deepstack=tuple(map(mean, zip(*(m.deepstack for m in maps), strict=True))),
        pts=sum(w * m.pts for w, m in zip(weights, maps, strict=True)) / sum(weights),
    )


def stacked(maps: Sequence[VisualTokens], like: VisualTokens) -> VisualTokens:
    """Maps of the same size one below the other, as one picture with the time and words of `like`.
    """
    _, height, width = maps[0].grid
    return replace(
        like, places=None, grid=(1, height * len(maps), width),
        embeds=torch.cat([m.embeds for m in maps]),
        deepstack=tuple(map(torch.cat, zip(*(m.deepstack for m in maps), strict=True))),
    )


def words_of(model: VideoLLM, text: str) -> Tensor:
    """(S, D) float32 rows of length 1: the words of a text as the language model reads them."""
    return F.normalize(model.embed_text(model.encode_text(text)).float(), dim=-1)
