"""Which pages look alike: kept up to date as pages come and go, so that one frame costs one row."""
from collections.abc import Iterable

import torch
from torch import Tensor

NONE = -2.0   # below every cosine: a page beside itself
NOBODY = 1 << 62   # an id of no page, newer than all


class PageIndex:
    """Pages by their id, with the cosine of every two of them.

    looks: (C, F) float32 rows of length 1; likeness: (C, C); nearest: (C,) the largest in each row.
    The first `len(self)` rows are in use.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.looks, self.likeness = torch.zeros(0, 0), torch.zeros(0, 0)
        self.nearest = torch.zeros(0)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, i: int, look: Tensor) -> None:
        """A page's look (F,) of length 1."""
        count = len(self)
        if count == len(self.looks):
            self._grow(2 * count + 16, len(look))
        self.looks[count] = look.float()
        likeness = self.looks[:count] @ self.looks[count]
        self.likeness[count, :count] = self.likeness[:count, count] = likeness
        self.likeness[count, count] = NONE
        self.nearest[:count] = self.nearest[:count].maximum(likeness)
        self.nearest[count] = likeness.max() if count else NONE
        self.ids.append(i)

    def _grow(self, capacity: int, width: int) -> None:
        count = len(self)
        looks, likeness = torch.zeros(capacity, width), torch.full((capacity, capacity), NONE)
        nearest = torch.full((capacity,), NONE)
        if count:
            looks[:count], nearest[:count] = self.looks, self.nearest
            likeness[:count, :count] = self.likeness
        self.looks, self.likeness, self.nearest = looks, likeness, nearest

    def keep_only(self, ids: Iterable[int]) -> None:
        """Drop all pages but these."""
        wanted = set(ids)
        for i in [i for i in self.ids if i not in wanted]:
            self.remove(i)

    def remove(self, i: int) -> None:
        """The last row takes the place of the one that goes."""
        row, last = self.ids.index(i), len(self) - 1
        bereft = self.nearest == self.likeness[row]   # it was the nearest of these
        bereft[row], self.nearest[row] = bereft[last], self.nearest[last]
        self.ids[row] = self.ids[last]
        self.looks[row], self.looks[last] = self.looks[last].clone(), 0.0
        self.likeness[row] = self.likeness[last].clone()
        self.likeness[:, row] = self.likeness[:, last].clone()
        self.likeness[row, row] = NONE
        self.likeness[last], self.likeness[:, last] = NONE, NONE
        self.nearest[last] = NONE
        del self.ids[last]
        rows = bereft[:last].nonzero()[:, 0]
        self.nearest[rows] = self.likeness[rows].amax(1)

    def would_go(self, look: Tensor) -> bool:
        """Whether a page with this look, once added, would be the most redundant."""
        self.add(NOBODY, look)
        goes = self.most_redundant() == NOBODY
        self.remove(NOBODY)
        return goes

    def most_redundant(self) -> int:
        """Of the two pages most like each other, the one that a third is more like; of equal ones
        the older. Raises IndexError when there is none."""
        count = len(self)
        if count < 2:
            return self.ids[0]
        first = int(self.nearest[:count].argmax())
        pair = sorted((first, int(self.likeness[first].argmax())), key=lambda row: self.ids[row])
        rest = self.likeness[pair, :count]
        rest[:, pair] = NONE
        return self.ids[pair[int(rest.amax(1).argmax())]]
