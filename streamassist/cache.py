"""KVCache: preallocated keys and values of every layer, and what each slot means.

Keys are kept raw (before rotary embedding) and rotated once to the position where they are used; a
slot that moves is rotated anew from its raw key, so any number of moves costs no accuracy.
All layers and heads hold the same slots in the same order; the pinned prompt comes first.
"""
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from streamassist.errors import StreamAssistError
from streamassist.rope import Rope, rotate
from streamassist.types import Chunk, Role

GROWTH = 512   # slots added at least when the buffers grow


@dataclass(slots=True)
class Slots:
    """Per-slot facts, each (T,) on the CPU; position is (A, T).

    group: number of the chunk a slot came in; base, span: where that chunk's layout starts and how
    many positions it takes, so that gaps can be closed without disturbing a frame's own layout.
    """

    position: Tensor
    pts: Tensor
    role: Tensor
    frame: Tensor
    group: Tensor
    base: Tensor
    span: Tensor

    @classmethod
    def empty(cls, num_axes: int, capacity: int) -> "Slots":
        whole = [torch.zeros(capacity, dtype=torch.int64) for _ in range(4)]
        position = torch.zeros(num_axes, capacity, dtype=torch.int64)
        role = torch.zeros(capacity, dtype=torch.uint8)
        return cls(position, torch.zeros(capacity, dtype=torch.float64), role, *whole)

    def fields(self) -> tuple[Tensor, ...]:
        return (
            self.position, self.pts, self.role, self.frame, self.group, self.base, self.span
        )

    def map(self, fn) -> "Slots":
        return Slots(*(fn(f) for f in self.fields()))


@dataclass(slots=True)
class Branch:
    """Slots lifted off the end of the cache: a question and the answer so far."""

    raw: Tensor      # (L, H, T, D) keys before rotary embedding
    value: Tensor    # (L, H, T, D)
    slots: Slots
    start: int       # position its first token has now
    length: int      # positions it takes


class KVCache:
    """Keys and values for one stream. `len(cache)` does not count the pinned prompt."""

    def __init__(
        self,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        rope: Rope,
        num_axes: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        self.rope, self.num_axes = rope.to(torch.device(device)), num_axes
        self.dtype, self.device = dtype, torch.device(device)
        self._shape = (num_layers, num_kv_heads, head_dim)
        self.raw, self.rotated, self.value = (self._buffer(GROWTH) for _ in range(3))
        self.slots = Slots.empty(num_axes, GROWTH)
        self.size = 0            # slots in use, the pinned ones included
        self.num_pinned = 0
        self.next_position = 0   # where the next chunk starts
        self._groups = 0
        self._incoming: tuple[int, Tensor, Tensor] | None = None

    def _buffer(self, capacity: int) -> Tensor:
        layers, heads, dim = self._shape
        return torch.zeros(layers, heads, capacity, dim, dtype=self.dtype, device=self.device)

    # ------------------------------------------------------------ reading

    def __len__(self) -> int:
        return self.size - self.num_pinned

    @property
    def num_layers(self) -> int:
        return self._shape[0]

    @property
    def capacity(self) -> int:
        return self.raw.shape[2]

    @property
    def bytes_per_slot(self) -> int:
        layers, heads, dim = self._shape
        return 3 * layers * heads * dim * self.raw.element_size()

    @property
    def bytes(self) -> int:
        """Bytes of the slots in use: raw keys, rotated keys, values."""
        return self.size * self.bytes_per_slot

    @property
    def allocated_bytes(self) -> int:
        return self.capacity * self.bytes_per_slot

    def used(self) -> Slots:
        """The facts of all slots in use, pinned ones first (views)."""
        return self.slots.map(lambda f: f[..., : self.size])

    def frames(self) -> list[int]:
        """Indices of the frames with at least one slot, oldest first."""
        used = self.used()
        visual = used.frame[used.role == Role.VISUAL]
        return torch.unique_consecutive(visual).tolist()

    def time_span(self) -> tuple[float, float] | None:
        """Stream times of the oldest and the newest frame held, None without frames."""
        used = self.used()
        pts = used.pts[used.role == Role.VISUAL]
        return (float(pts.min()), float(pts.max())) if len(pts) else None

    # ------------------------------------------------------------ writing

    @contextmanager
    def appending(self, chunk: Chunk) -> Iterator[tuple[Tensor, Tensor]]:
        """Around a forward pass: yields cos, sin (S, D) for its queries.

        The chunk counts only once every layer was written; after an error the cache is as before.
        """
        count = chunk.positions.shape[1]
        self._reserve(self.size + count)
        cos, sin = self.rope.cos_sin(chunk.positions.to(self.device))
        self._incoming = (count, cos, sin)
        try:
            yield cos, sin
            self._describe(chunk, count)
            self.size += count
            self.next_position = chunk.start + chunk.span
        finally:
            self._incoming = None

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write raw keys and values (H, S, D); return rotated keys and values (H, size + S, D)."""
        if self._incoming is None:
            raise RuntimeError("KVCache.update outside of appending()")
        count, cos, sin = self._incoming
        new = slice(self.size, self.size + count)
        self.raw[layer, :, new] = key
        self.rotated[layer, :, new] = rotate(key, cos, sin)
        self.value[layer, :, new] = value
        return self.rotated[layer, :, : new.stop], self.value[layer, :, : new.stop]

    def _describe(self, chunk: Chunk, count: int) -> None:
        new, s = slice(self.size, self.size + count), self.slots
        s.position[:, new] = chunk.positions.cpu()
        s.pts[new], s.role[new], s.frame[new] = chunk.pts, int(chunk.role), chunk.frame
        if chunk.visual is None:   # each text token stands alone, so any of them may leave
            s.group[new] = torch.arange(self._groups, self._groups + count)
            s.base[new], s.span[new] = s.position[0, new], 1
            self._groups += count
        else:
            s.group[new], s.base[new], s.span[new] = self._groups, chunk.start, chunk.span
            self._groups += 1

    def _reserve(self, size: int) -> None:
        if size <= self.capacity:
            return
        extra = max(size - self.capacity, self.capacity // 2, GROWTH)
        try:
            room = self._buffer(extra)
            grown = [torch.cat((old, room), 2) for old in (self.raw, self.rotated, self.value)]
        except (RuntimeError, MemoryError) as error:
            raise StreamAssistError(
                f"There is no memory left for {size} cache slots "
                f"({size * self.bytes_per_slot >> 20} MB); choose a memory policy with a budget."
            ) from error
        self.slots = self.slots.map(
            lambda f: torch.cat((f, f.new_zeros(*f.shape[:-1], extra)), -1)
        )
        self.raw, self.rotated, self.value = grown   # all or none

    def pin(self) -> None:
        """Pin everything present: the prompt. It is never evicted and not counted in `len`."""
        self.num_pinned = self.size
        self.slots.role[: self.size] = int(Role.PROMPT)

    # ------------------------------------------------------------ surgery

    def keep(self, mask: Tensor) -> None:
        """Keep the unpinned slots where `mask` (len(cache),) is True, in their order."""
        index = mask.nonzero()[:, 0] + self.num_pinned
        start, size = self.num_pinned, self.num_pinned + len(index)
        unmoved = int((index == torch.arange(start, size)).sum())
        first, index = start + unmoved, index[unmoved:]   # the head that stays is not copied
        where = index.to(self.device)
        for buffer in (self.raw, self.rotated, self.value):
            buffer[:, :, first:size] = buffer.index_select(2, where)
        for fact in self.slots.fields():
            fact[..., first:size] = fact.index_select(-1, index)
        self.size = size

    def truncate(self, size: int) -> None:
        """Drop the slots from `size` on; the next chunk starts behind the last one left."""
        self.size = max(size, self.num_pinned)
        last = self.size - 1
        self.next_position = int(self.slots.base[last] + self.slots.span[last]) if self.size else 0

    def renumber(self) -> None:
        """Close the gaps that eviction left between chunks; the layout inside a chunk stays.

        The newest chunk stays where it is and older ones move up to it: attention sees only
        differences of positions, and so only the few slots before a gap are rotated anew.
        """
        if not self.size:
            return
        used = self.used()
        _, inverse = torch.unique_consecutive(used.group, return_inverse=True)
        first = torch.full((int(inverse[-1]) + 1,), self.size).scatter_reduce(
            0, inverse, torch.arange(self.size), "amin"
        )
        span, base = used.span[first], used.base[first]
        target = span.cumsum(0) - span
        target += int(base[-1] - target[-1])
        self.move((target - base)[inverse])
        self.next_position = int(base[-1] + span[-1])

    def move(self, delta: Tensor) -> None:
        """Add `delta` (size,) to the slots' positions and rotate those that moved, from raw."""
        moved = delta.nonzero()[:, 0]
        if not len(moved):
            return
        s = self.slots
        s.position[:, moved] += delta[moved]
        s.base[moved] += delta[moved]
        where = moved.to(self.device)
        cos, sin = self.rope.cos_sin(s.position[:, moved].to(self.device))
        self.rotated[:, :, where] = rotate(self.raw.index_select(2, where), cos, sin)

    # ------------------------------------------------------------ branches

    def lift(self, start_slot: int) -> Branch:
        """Take the slots from `start_slot` on out of the cache (a branch being answered)."""
        part = slice(start_slot, self.size)
        slots = self.slots.map(lambda f: f[..., part].clone())
        start = int(slots.base[0]) if self.size > start_slot else self.next_position
        branch = Branch(
            self.raw[:, :, part].clone(),
            self.value[:, :, part].clone(),
            slots,
            start,
            self.next_position - start,
        )
        self.truncate(start_slot)
        return branch

    def put_back(self, branch: Branch, start: int | None = None) -> None:
        """Append a lifted branch, moved to begin at position `start` (default: where it was)."""
        count = branch.raw.shape[2]
        self._reserve(self.size + count)
        part = slice(self.size, self.size + count)
        shift = 0 if start is None else start - branch.start
        self.raw[:, :, part], self.value[:, :, part] = branch.raw, branch.value
        for mine, theirs in zip(self.slots.fields(), branch.slots.fields(), strict=True):
            mine[..., part] = theirs
        self.slots.position[:, part] += shift
        self.slots.base[part] += shift
        cos, sin = self.rope.cos_sin(self.slots.position[:, part].to(self.device))
        self.rotated[:, :, part] = rotate(branch.raw, cos, sin)
        self.size += count
        self.next_position = branch.start + shift + branch.length

    def reset(self) -> None:
        """Forget everything, the pinned prompt too; the bytes are overwritten with zeros."""
        for buffer in (self.raw, self.rotated, self.value):
            buffer.zero_()
        self.slots = Slots.empty(self.num_axes, self.capacity)
        self.size = self.num_pinned = self.next_position = self._groups = 0
