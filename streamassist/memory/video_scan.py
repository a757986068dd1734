"""VideoScan: a frame is remembered by one carrier token and the tokens the carrier looked at.

arXiv 2503.09387 and its follow-up release: once a frame was read, its carrier's keys and values
stay with those of the frame's tokens that got most of the carrier's attention; of more than 64
frames the earlier of the two neighbours most alike goes. The paper appends the mean of the frame's
tokens as carrier and trains the model for it; an unmodified model has never seen such a token, so
here the carrier is the frame's last token (our inference), its attention is averaged over layers
and heads so that all layers keep the same, and 7 tokens stay with it in place of 16, which makes
64 frames of 512 tokens. A frame is whole until the next one comes.
"""
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import (
    MAX_TOKENS,
    MemoryPolicy,
    check_setting,
    drop_frames,
    frame_sizes,
)
from streamassist.memory.units import unit_size
from streamassist.scoring import adjacent_cosine, attention_mass, top_slots
from streamassist.types import VisualTokens


@dataclass
class VideoScan(MemoryPolicy):
    frame_queries: ClassVar[bool] = True
    budget: int = 512   # tokens
    frames: int = 64    # at most, the newest included
    top: int = 7        # tokens that stay with the carrier
    _looks: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _kept: Tensor | None = field(default=None, init=False, repr=False)   # of the newest frame

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)
        check_setting(self, "frames", 1, 10_000)
        check_setting(self, "top", 0, MAX_TOKENS)

    def reset(self) -> None:
        self._looks, self._kept = {}, None

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        """Reduce the frame before this one, so that this one sees carriers only."""
        if self._kept is not None and len(cache):
            mask = torch.ones(len(cache), dtype=torch.bool)
            mask[len(cache) - unit_size(cache) :] = self._kept
            cache.keep(mask)
            cache.renumber(ranks=True)
        self._looks[tokens.frame] = tokens.look.float().mean(0).cpu()

    def after_prefill(self, cache: KVCache) -> None:
        if not len(cache):
            return
        size = unit_size(cache)
        carrier = self.queries[:, :, -1:]
        mass = attention_mass(cache, carrier, cache.next_position - 1).mean((0, 1)).cpu()[-size:]
        self._kept = torch.zeros(size, dtype=torch.bool)
        last = torch.arange(size) == size - 1
        self._kept[top_slots(mass, min(size, 1 + self.top), last)] = True
        drop_frames(cache, self._surplus(*frame_sizes(cache)))
        held = set(cache.frames())
        self._looks = {f: look for f, look in self._looks.items() if f in held}

    def _surplus(self, frames: list[int], sizes: list[int]) -> set[int]:
        """Frames to drop: while there are too many, the earlier of the most similar neighbours."""
        gone, sizes = set(), dict(zip(frames, sizes, strict=True))
        while len(frames) > 1 and (len(frames) > self.frames or sum(sizes.values()) > self.budget):
            likeness = adjacent_cosine(torch.stack([self._looks[f] for f in frames]))
            frame = frames[int(likeness.argmax())]
            gone.add(frame)
            del sizes[frame]
            frames = [f for f in frames if f != frame]
        return gone
