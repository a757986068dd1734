"""Pages of slots outside of a cache: a store of fixed size that forgets what repeats itself."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.slots import Block, Slots

GROWTH = 256   # slots added at least when the buffers grow


@dataclass(slots=True, eq=False)
class Page:
    """Consecutive frames in a store.

    where: (N,) places of its slots in the buffers, in order of time; mean: (L, Hk, D) mean raw key,
    float32; key: what its method compares with a question; likeness: cosine of `mean` with the
    next page's, -1 for the newest; spared: forgotten only when no other page is left.
    """

    where: Tensor
    frames: list[int]
    mean: Tensor
    key: Tensor
    likeness: float = -1.0
    spared: bool = False


class Store:
    """At most `limit` slots, in pages ordered by time, in the memory of the CPU.

    raw, value: (L, Hk, C, D), of which the places in `order()` are in use. Over the limit, the page
    most like the one behind it goes: of what lasts or repeats the newest view stays, and what was
    unusual stays longest.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.pages: list[Page] = []
        self.raw, self.value, self.slots = None, None, None
        self._free: list[int] = []

    def __len__(self) -> int:
        return sum(len(page.where) for page in self.pages)

    @property
    def bytes(self) -> int:
        return 0 if self.raw is None else 2 * self.raw.numel() * self.raw.element_size()

    def order(self) -> Tensor:
        """(T,) places of all slots in use, oldest first."""
        return torch.cat([page.where for page in self.pages])

    def frames(self) -> Tensor:
        """(T,) frame of each slot in use, oldest first."""
        return self.slots.frame[0, self.order()]

    def by_slot(self, score: Tensor) -> Tensor:
        """A score of pages (L, P) given to each of their slots: (L, T)."""
        sizes = torch.tensor([len(page.where) for page in self.pages])
        return score.repeat_interleave(sizes, dim=1)

    def take(self, index: Tensor) -> Block:
        """A copy of the slots (L, K) counted in `order()`, for each layer its own."""
        where = self.order()[index]
        rows = where[:, None, :, None].expand(-1, self.raw.shape[1], -1, self.raw.shape[3])
        facts = self.slots.map(lambda f: f[..., 0, :][..., where])
        return Block(self.raw.gather(2, rows), self.value.gather(2, rows), facts)

    # ------------------------------------------------------------ writing

    def add(self, block: Block, key: Tensor) -> Page:
        """Append the newest page (one plane). `shrink` then brings the store under its limit."""
        where = self._room(block)
        self.raw[:, :, where], self.value[:, :, where] = block.raw.cpu(), block.value.cpu()
        for mine, theirs in zip(self.slots.fields(), block.slots.fields(), strict=True):
            mine[..., where] = theirs
        frames = block.slots.frame.unique().tolist()
        self.pages.append(Page(where, frames, block.raw.float().mean(2).cpu(), key))
        self._compare(len(self.pages) - 2)
        return self.pages[-1]

    def shrink(self) -> list[Page]:
        """Forget pages until the store keeps its limit; returns them."""
        gone, excess = [], len(self) - self.limit
        while excess > 0:
            page = max(self.pages, key=lambda page: (not page.spared, page.likeness))
            self.remove(page)
            gone.append(page)
            excess -= len(page.where)
        return gone

    def remove(self, page: Page) -> None:
        number = self.pages.index(page)
        del self.pages[number]
        self._free += page.where.tolist()
        self._compare(number - 1)

    def average(self, pages: list[Page], into: Page) -> None:
        """Fill a page with the mean of pages, those of its own size; its times stay."""
        where = torch.stack([p.where for p in pages if len(p.where) == len(into.where)])
        for buffer in (self.raw, self.value):
            buffer[:, :, into.where] = buffer[:, :, where].float().mean(2).to(buffer.dtype)
        into.mean = self.raw[:, :, into.where].float().mean(2)
        number = self.pages.index(into)
        self._compare(number - 1)
        self._compare(number)

    def _compare(self, number: int) -> None:
        """Set a page's likeness to the one behind it."""
        if number < 0:
            return
        pair = self.pages[number : number + 2]
        pair[0].likeness = -1.0 if len(pair) < 2 else float(
            F.cosine_similarity(pair[0].mean.flatten(), pair[1].mean.flatten(), dim=0)
        )

    def _room(self, block: Block) -> Tensor:
        """(N,) free places for a block, which are then no longer free."""
        count = len(block.slots)
        if (lack := count - len(self._free)) > 0:
            self._grow(block, max(lack, GROWTH))
        where, self._free = self._free[:count], self._free[count:]
        return torch.tensor(where)

    def _grow(self, block: Block, extra: int) -> None:
        layers, heads, _, dim = block.raw.shape
        room = torch.zeros(layers, heads, extra, dim, dtype=block.raw.dtype)
        facts = Slots.empty(block.slots.position.shape[0], extra)
        if self.raw is None:
            self.raw, self.value, self.slots = room, room.clone(), facts
            self._free = list(range(extra))
            return
        size = self.raw.shape[2]
        self._free += range(size, size + extra)
        self.raw, self.value = (torch.cat((old, room), 2) for old in (self.raw, self.value))
        both = zip(self.slots.fields(), facts.fields(), strict=True)
        self.slots = Slots(*(torch.cat(pair, -1) for pair in both))
