"""LiveStar's peak-end compression: of each event that is over, the half that shows it best stays.

arXiv 2511.05299, section 3.3: an event lasts from one caption to the next, each frame records the
perplexity of the standing caption, and when too many frames are held each closed event keeps the
half with the lowest. Without captions (our inference): an event lasts from one scene change to the
next, at most as many frames as the paper retains; the score is a frame's cosine to the mean of
its event; and when no closed event can be halved the oldest frame leaves. The running event
stays. Unlike the authors' code, positions close up.
"""
from dataclasses import dataclass, field

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
from streamassist.scoring import adjacent_cosine
from streamassist.types import VisualTokens


@dataclass
class LiveStar(MemoryPolicy):
    budget: int = 512      # tokens
    change: float = 0.2    # cosine distance to the previous frame from which a new event starts
    longest: int = 24      # frames of an event
    _previous: Tensor | None = field(default=None, init=False, repr=False)
    _events: list[dict[int, Tensor]] = field(default_factory=list, init=False, repr=False)
    _length: int = field(default=0, init=False, repr=False)   # frames the running event has seen

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)
        check_setting(self, "change", 0, 2)
        check_setting(self, "longest", 1, 10_000)

    def reset(self) -> None:
        self._previous, self._events, self._length = None, [], 0

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        looks = tokens.look.float().cpu()
        if self._length >= self.longest or self._cuts(looks.flatten()):
            self._events.append({})
            self._length = 0
        self._events[-1][tokens.frame] = looks.mean(0)
        self._length += 1
        self._previous = looks.flatten()

    def _cuts(self, looks: Tensor) -> bool:
        """Does a scene start with these rows (N * F,)?"""
        before = self._previous
        if before is None or before.shape != looks.shape:
            return True
        return 1 - float(adjacent_cosine(torch.stack((before, looks)))[0]) > self.change

    def after_prefill(self, cache: KVCache) -> None:
        if len(cache) <= self.budget:
            return
        frames, sizes = frame_sizes(cache)
        size = dict(zip(frames, sizes, strict=True))
        gone = {f for event in self._events[:-1] for f in worse_half(event)} & set(frames)
        excess = len(cache) - self.budget - sum(size[f] for f in gone)
        left = [f for f in frames if f not in gone]
        gone |= oldest_until(left, [size[f] for f in left], excess)
        drop_frames(cache, gone)
        held = set(frames) - gone
        events = [{f: e[f] for f in e if f in held} for e in self._events]
        self._events = [event for event in events if event]


def worse_half(event: dict[int, Tensor]) -> list[int]:
    """Of n frames (look (F,) each) all but the ceil(n / 2) nearest to their mean."""
    looks = torch.stack(list(event.values()))
    likeness = F.cosine_similarity(looks, looks.mean(0, keepdim=True), dim=-1)
    order = likeness.argsort(descending=True, stable=True).tolist()
    frames = list(event)
    return [frames[i] for i in order[(len(frames) + 1) // 2 :]]
