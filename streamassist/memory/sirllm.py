"""SirLLM: keep the tokens that were a surprise.

arXiv 2405.12528, section 3: the first 4 tokens and the most surprising of the rest stay, and old
surprise fades by a factor each turn of a dialogue. For words that is -log p of the token. A visual
token predicts nothing, so its surprise is its novelty: 1 - the highest cosine to the 3 x 3
neighbourhood of its place in the previous frame; text around a frame gets the frame's mean; a turn
is a frame, with a gentler fading than the paper's 0.7 to 1 a turn; the newest frame stays whole
(all our inference).
"""
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import MAX_TOKENS, MemoryPolicy, check_setting
from streamassist.memory.neighbours import change
from streamassist.memory.units import to_free, unit_size
from streamassist.scoring import top_slots
from streamassist.types import VisualTokens


@dataclass
class SirLLM(MemoryPolicy):
    budget: int = 512      # tokens
    sink: int = 4          # tokens at the start that stay
    decay: float = 0.999   # of old surprise, each frame
    chunk: int = 4         # frames made room for at a time
    _last: VisualTokens | None = field(default=None, init=False, repr=False)   # previous frame
    _new: Tensor | None = field(default=None, init=False, repr=False)     # newest rows' surprise
    _lead: int = field(default=0, init=False, repr=False)                 # text slots before them
    _score: Tensor = field(default_factory=lambda: torch.zeros(0), init=False, repr=False)

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)
        check_setting(self, "sink", 0, self.budget - 1)
        check_setting(self, "decay", 0, 1)
        check_setting(self, "chunk", 1, 100)

    def reset(self) -> None:
        self._last = self._new = None
        self._score = torch.zeros(0)

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        self._new = change(tokens, self._last).clamp(max=1)
        self._last, self._lead = tokens, len(tokens.before)

    def after_prefill(self, cache: KVCache) -> None:
        if not len(cache):
            return
        size = unit_size(cache)
        self._append(size, len(cache) - size)
        free = to_free(cache, size, self.budget, self.chunk) * size
        if not free:
            return
        stays = torch.zeros(len(cache), dtype=torch.bool)
        stays[: self.sink] = stays[len(cache) - size :] = True
        kept = top_slots(self._score, len(cache) - free, stays)
        mask = torch.zeros(len(cache), dtype=torch.bool)
        mask[kept] = True
        self._score = self._score[kept]
        cache.keep(mask)
        cache.renumber(ranks=True)

    def _append(self, size: int, past: int) -> None:
        """Bring the scores up to the cache: `past` faded ones, then the newest frame's `size`.

        Slots that left behind our back were the oldest.
        """
        fresh = torch.full((size,), float(self._new.mean()))
        fresh[self._lead : self._lead + len(self._new)] = self._new
        old = self._score[max(0, len(self._score) - past) :] * self.decay
        self._score = torch.cat((old, fresh))
