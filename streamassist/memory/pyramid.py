"""Pyramid Memory Bank: few frames sharp, more at half the side, most at a quarter.

VideoChat-Online, arXiv 2501.00584. Three banks of capacities 1:1:6 sample the stream at rates
1:2:8; when one is full, the earlier of its two most alike neighbours goes to the next one, smaller.
"""
from bisect import insort
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.memory.banks import TokenBank, half, shrink, total, with_newest
from streamassist.scoring import adjacent_cosine
from streamassist.types import VisualTokens

CYCLE = 8            # of so many frames one is sampled sharp, and two at least at half the side
COARSE_SHARE = 6     # capacity of the last bank against either of the others


@dataclass
class Pyramid(TokenBank):
    """The paper's sides are 16, 8 and 4 tokens. Our inference: whole, half and a quarter of the
    model's own side; capacities follow from the token budget, the rest of it holding more of the
    smallest maps; a frame enters the sharpest bank that samples it, and no other."""

    _banks: list[list[tuple[VisualTokens, Tensor]]] = field(
        default_factory=lambda: [[], [], []], init=False, repr=False
    )

    def take(self, tokens: VisualTokens, look: Tensor) -> None:
        sizes = self._sizes(tokens)
        place = self._seen % CYCLE
        level = 0 if place == 0 else 1 if place == CYCLE // 2 else 2
        self._put(level, tokens, sizes)
        for level, most in enumerate(self._capacities(tokens, sizes)):
            while len(self._banks[level]) > most:
                old, _ = self._banks[level].pop(most_alike(self._banks[level]))
                if level < 2:
                    self._put(level + 1, old, sizes)
        while total(self.chosen("")) > self.budget and any(self._banks):   # frames became smaller
            next(filter(None, reversed(self._banks))).pop(0)

    def _sizes(self, tokens: VisualTokens) -> list[tuple[int, int]]:
        """(height, width) of the maps in each bank."""
        _, height, width = tokens.grid
        middle = half(height), half(width)
        return [(height, width), middle, (half(middle[0]), half(middle[1]))]

    def _capacities(self, tokens: VisualTokens, sizes: list[tuple[int, int]]) -> list[int]:
        words = len(tokens.before) + len(tokens.after)
        whole, middle, small = (words + height * width for height, width in sizes)
        room = max(0, self.budget - whole)
        each = room // (whole + middle + COARSE_SHARE * small)
        return [each, each, (room - each * (whole + middle)) // small]

    def _put(self, level: int, tokens: VisualTokens, sizes: list[tuple[int, int]]) -> None:
        held = tokens if level == 0 else shrink(tokens, *sizes[level])
        entry = held, held.embeds.float().mean(0)
        insort(self._banks[level], entry, key=lambda e: e[0].pts)

    def chosen(self, question: str) -> list[VisualTokens]:
        return with_newest([held for bank in self._banks for held, _ in bank], self._newest)


def most_alike(bank: list[tuple[VisualTokens, Tensor]]) -> int:
    """Place of the earlier of the two neighbours most alike; 0 where there is but one."""
    if len(bank) < 2:
        return 0
    return int(adjacent_cosine(torch.stack([mean for _, mean in bank])).argmax())
