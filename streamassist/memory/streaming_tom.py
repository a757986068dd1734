"""StreamingTOM: every old frame in 4 bits with its mean key; a question brings back what fits.

arXiv 2510.18269, the part behind the language model: one group a frame, keys by channel and values
by token, the mean key kept in 16 bits; frames are ranked by the question's queries against it and
read, best first, until the budget of an answer is full (12k tokens in the paper). The reduction of
a frame's tokens in front of the language model is not part of this policy. Our inference: one
choice for all layers, from the mean of each layer's scores scaled to 0..1; a bounded store.
"""
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.codec import CHANNELS, TOKENS, Packed, quantise
from streamassist.memory.base import question_queries
from streamassist.memory.packed import PackedMemory, Page
from streamassist.scoring import min_max, relevance


@dataclass
class StreamingTOM(PackedMemory):
    page: int = 1            # one frame a page
    most_tokens: int = 512   # an answer reads, the window included
    _found: list[tuple[int, float]] = field(default_factory=list, init=False, repr=False)

    def reset(self) -> None:
        super().reset()
        self._found = []

    def pack_keys(self, keys: Tensor) -> Packed:
        return quantise(keys, 16, TOKENS, group=keys.shape[2])

    def pack_values(self, values: Tensor) -> Packed:
        return quantise(values, 16, CHANNELS)

    def mark(self, keys: Tensor) -> Tensor:
        return keys.float().mean(2).half()   # (L, H, D)

    def chosen(self, cache: KVCache, question: str) -> list[Page]:
        keys = torch.stack([page.mark for page in self._pages], 2)
        scores = min_max(relevance(question_queries(self.model, cache, question), keys)).mean(0)
        room, places, self._found = self.most_tokens - len(cache), [], []
        for place in scores.argsort(descending=True, stable=True).tolist():
            room -= len(self._pages[place].slots)
            if room < 0:
                break
            places.append(place)
            frame = int(self._pages[place].slots.frame[0, 0])
            self._found.append((frame, float(scores[place])))
        return [self._pages[place] for place in sorted(places)]

    def evidence(self) -> list[tuple[int, float]]:
        return self._found
