"""What each slot of a KVCache means, slots outside of one, and where they go when gaps close."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamassist.types import Chunk, Role


@dataclass(slots=True)
class Slots:
    """Facts of T slots on P planes, each (P, T) on the CPU; position is (A, P, T).

    There is one plane while all layers hold the same slots, and one a layer after a selection
    that differs by layer. group: number of the chunk a slot came in, which is also its age; base,
    span: where that chunk's layout starts and how many positions it takes, so that gaps can be
    closed without disturbing a frame's own layout.
    """

    position: Tensor
    pts: Tensor
    role: Tensor
    frame: Tensor
    group: Tensor
    base: Tensor
    span: Tensor

    @classmethod
    def empty(cls, num_axes: int, capacity: int, planes: int = 1) -> "Slots":
        whole = [torch.zeros(planes, capacity, dtype=torch.int64) for _ in range(4)]
        position = torch.zeros(num_axes, planes, capacity, dtype=torch.int64)
        role = torch.zeros(planes, capacity, dtype=torch.uint8)
        pts = torch.zeros(planes, capacity, dtype=torch.float64)
        return cls(position, pts, role, *whole)

    def __len__(self) -> int:
        return self.role.shape[-1]

    @property
    def planes(self) -> int:
        return self.role.shape[0]

    def fields(self) -> tuple[Tensor, ...]:
        return (
            self.position, self.pts, self.role, self.frame, self.group, self.base, self.span
        )

    def map(self, fn: Callable[[Tensor], Tensor]) -> "Slots":
        return Slots(*(fn(f) for f in self.fields()))

    def plane(self, number: int) -> "Slots":
        """One plane alone: facts (T,), position (A, T)."""
        return self.map(lambda f: f[..., number, :])

    def spread(self, planes: int) -> "Slots":
        """The same slots on `planes` planes, each with its own copy."""
        if self.planes == planes:
            return self
        return self.map(lambda f: f.repeat_interleave(planes, dim=-2))

    def select(self, index: Tensor) -> "Slots":
        """Slots by index: (K,) for all planes, or (P, K) for each its own; copies."""
        if index.ndim == 1:
            return self.map(lambda f: f.index_select(-1, index))
        return self.map(lambda f: f.gather(-1, index.expand(*f.shape[:-1], -1)))

    def shown(self, fact: str) -> Tensor:
        """(N,) a fact of the slots of frames, on all planes."""
        return getattr(self, fact)[self.role == Role.VISUAL]

    def write(self, part: slice, others: "Slots") -> None:
        """Put the facts of as many others there."""
        for mine, theirs in zip(self.fields(), others.fields(), strict=True):
            mine[..., part] = theirs

    def describe(self, chunk: Chunk, group: int) -> int:
        """Fill in the facts of a chunk, whose first group is number `group`; the next number.

        A frame is one group. Each text token stands alone, so any of them may leave.
        """
        self.position[:] = chunk.positions.cpu()[:, None]
        self.pts[:], self.role[:], self.frame[:] = chunk.pts, int(chunk.role), chunk.frame
        if chunk.visual is not None:
            self.group[:], self.base[:], self.span[:] = group, chunk.start, chunk.span
            return group + 1
        self.group[:] = torch.arange(group, group + len(self))
        self.base[:], self.span[:] = self.position[0], 1
        return group + len(self)


def picked(buffer: Tensor, where: Tensor) -> Tensor:
    """(L, H, T, D) -> copies of the slots at places (K,), or (L, K) by layer: (L, H, K, D)."""
    if where.ndim == 1:
        return buffer.index_select(2, where)
    layers, heads, _, dim = buffer.shape
    return buffer.gather(2, where[:, None, :, None].expand(layers, heads, -1, dim))


@dataclass(slots=True)
class Block:
    """Slots outside of a cache: a page of memory."""

    raw: Tensor      # (L, H, T, D) keys before rotary embedding
    value: Tensor    # (L, H, T, D)
    slots: Slots

    def select(self, index: Tensor) -> "Block":
        """A copy of the slots at these places (K,)."""
        raw, value = (picked(b, index.to(b.device)) for b in (self.raw, self.value))
        return Block(raw, value, self.slots.select(index))


def chained(parts: Sequence[Slots]) -> Slots:
    """The facts of slots on equally many planes, one behind the other."""
    return Slots(*(torch.cat(f, -1) for f in zip(*(s.fields() for s in parts), strict=True)))


def joined(blocks: Sequence[Block]) -> Block:
    """Blocks of equally many planes, one behind the other."""
    return Block(
        torch.cat([block.raw for block in blocks], 2),
        torch.cat([block.value for block in blocks], 2),
        chained([block.slots for block in blocks]),
    )


@dataclass(slots=True)
class Branch(Block):
    """Slots lifted off the end of a cache: a question and the answer so far."""

    start: int       # position its first token has now
    length: int      # positions it takes


def by_age(slots: Slots) -> Tensor:
    """(P, T) places of the slots in the order in which they came: by chunk, and inside a chunk by
    their place in its layout."""
    order = torch.arange(len(slots)).repeat(slots.planes, 1)
    for fact in (*(slots.position - slots.base).flip(0), slots.group):   # the weightiest last
        order = order.gather(1, fact.gather(1, order).argsort(dim=1, stable=True))
    return order


@dataclass(slots=True)
class Layout:
    """New places for all slots of a cache: position (A, P, T), base and span (P, T)."""

    position: Tensor
    base: Tensor
    span: Tensor


def close_gaps(slots: Slots) -> Layout:
    """No positions between chunks stay empty; the layout inside a chunk stays.

    The newest chunk stays where it is and older ones move up to it: attention sees only
    differences of positions, and so only the few slots before a gap are rotated anew.
    """
    base = torch.stack([_closed(slots.plane(p)) for p in range(slots.planes)])
    return Layout(slots.position + (base - slots.base), base, slots.span.clone())


def chunks_of(plane: Slots) -> tuple[Tensor, Tensor]:
    """(T,) the number of each slot's chunk on one plane, from 0 on, and (C,) its first slot."""
    _, inverse, counts = torch.unique_consecutive(
        plane.group, return_inverse=True, return_counts=True
    )
    return inverse, counts.cumsum(0) - counts


def _closed(plane: Slots) -> Tensor:
    """(T,) where each slot's chunk starts once the gaps between chunks are closed."""
    inverse, first = chunks_of(plane)
    span, base = plane.span[first], plane.base[first]
    target = span.cumsum(0) - span
    target += int(base[-1] - target[-1])
    return target[inverse]


def close_ranks(slots: Slots) -> Layout:
    """Every slot stands directly behind the one before it (one axis only): a chunk that lost some
    of its slots shrinks. The newest slot stays where it is."""
    count = len(slots)
    last = slots.position[0, :, -1:]
    position = last - torch.arange(count - 1, -1, -1)
    base, span = torch.empty_like(position), torch.empty_like(position)
    for p in range(slots.planes):
        inverse, first = chunks_of(slots.plane(p))
        base[p], span[p] = position[p, first][inverse], inverse.bincount()[inverse]
    return Layout(position[None], base, span)
