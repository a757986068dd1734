"""KVCache: preallocated keys and values of every layer, and what each slot means.

Keys are kept raw (before rotary embedding) and rotated once to the position where they are used; a
slot that moves is rotated anew from its raw key, so any number of moves costs no accuracy.
All layers hold equally many slots, the pinned prompt first; which ones may differ by layer.
"""
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from kernels.gather_rotate import gather_rotate
from streamassist.errors import StreamAssistError
from streamassist.rope import Rope, rotate
from streamassist.slots import Block, Branch, Layout, Slots, by_age, close_gaps, close_ranks, picked
from streamassist.types import Chunk, Role

GROWTH = 512     # slots added at least when the buffers grow
QUESTION = 128   # slots that a cache made for a question begins with


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
        capacity: int = GROWTH,
    ):
        self.rope, self.num_axes = rope.to(torch.device(device)), num_axes
        self.dtype, self.device = dtype, torch.device(device)
        self._shape = (num_layers, num_kv_heads, head_dim)
        self.raw, self.rotated, self.value = (self._buffer(capacity) for _ in range(3))
        self.slots = Slots.empty(num_axes, capacity)
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

    @property
    def layered(self) -> bool:
        """May the layers hold different slots?"""
        return self.slots.planes > 1

    @property
    def extent(self) -> int:
        """Positions from the first slot to where the next chunk starts."""
        return self.next_position - int(self.in_use().position.min()) if self.size else 0

    def used(self, layer: int = 0) -> Slots:
        """The facts of the slots in use in a layer, pinned ones first: (T,), views."""
        return self.in_use().plane(layer if self.layered else 0)

    def in_use(self) -> Slots:
        """The facts of the slots in use on all planes, pinned ones first: (P, T), views."""
        return self.slots.map(lambda f: f[..., : self.size])

    def frames(self) -> list[int]:
        """Indices of the frames with at least one slot in any layer, oldest first."""
        return self.in_use().shown("frame").unique().tolist()

    def time_span(self) -> tuple[float, float] | None:
        """Stream times of the oldest and the newest frame held, None without frames."""
        pts = self.in_use().shown("pts")
        return (float(pts.min()), float(pts.max())) if len(pts) else None

    # ------------------------------------------------------------ writing

    @contextmanager
    def appending(self, chunk: Chunk, room: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Around a forward pass, which writes at most `room` slots behind the cache, at least the
        chunk's: yields cos, sin (S, D) for its queries.

        The chunk counts only once every layer was written; after an error the cache is as before.
        """
        count = chunk.positions.shape[1]
        self._reserve(self.size + max(count, room))
        cos, sin = self.rope.cos_sin(chunk.positions.to(self.device))
        self._incoming = (count, cos, sin)
        try:
            yield cos, sin
            new = self.slots.map(lambda f: f[..., self.size : self.size + count])
            self._groups = new.describe(chunk, self._groups)
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
        self.slots.role[:, : self.size] = int(Role.PROMPT)

    # ------------------------------------------------------------ surgery

    def keep(self, mask: Tensor) -> None:
        """Keep the unpinned slots where `mask` (len(cache),) is True, in their order."""
        index = mask.nonzero()[:, 0] + self.num_pinned
        start = self.num_pinned
        unmoved = int((index == torch.arange(start, start + len(index))).sum())
        self._arrange(start + unmoved, index[unmoved:])   # the head that stays is not copied

    def keep_by_layer(self, index: Tensor) -> None:
        """Keep different slots in each layer.

        index: (L, K) places among the unpinned slots, ascending in each row.
        """
        self.slots = self.slots.spread(self.num_layers)
        self._arrange(self.num_pinned, index + self.num_pinned)

    def _arrange(self, start: int, index: Tensor) -> None:
        """From slot `start` on, have the slots at these places: (K,), or (L, K) by layer."""
        part, where = slice(start, start + index.shape[-1]), index.to(self.device)
        for buffer in (self.raw, self.rotated, self.value):
            buffer[:, :, part] = picked(buffer, where)
        self._describe(part, index)

    def _describe(self, part: slice, index: Tensor) -> None:
        self.slots.write(part, self.slots.select(index))
        self.size = part.stop

    def wipe(self) -> None:
        """Overwrite the bytes of slots no longer in use with zeros."""
        for buffer in (self.raw, self.rotated, self.value):
            buffer[:, :, self.size :].zero_()

    def truncate(self, size: int) -> None:
        """Drop the slots from `size` on; the next chunk starts behind the last one left."""
        self.size = max(size, self.num_pinned)
        last = self.slots.map(lambda f: f[..., self.size - 1])
        self.next_position = int((last.base + last.span).max()) if self.size else 0

    def renumber(self, ranks: bool = False) -> None:
        """Close the gaps that eviction left in the positions.

        Between chunks; with `ranks` also inside chunks that lost slots (on one axis; with three a
        frame takes few positions, and keeps its layout).
        """
        if self.size:
            close = close_ranks if ranks and self.num_axes == 1 else close_gaps
            self.place(close(self.in_use()))

    def place(self, layout: Layout, every: bool = False) -> None:
        """Give all slots in use new positions; those that moved (or `every`) are rotated anew."""
        moved = (layout.position != self.in_use().position).any(0).any(0) | every
        self._stand(layout)
        self._rotate(moved.nonzero()[:, 0])

    def _stand(self, layout: Layout) -> None:
        s = self.in_use()
        s.position[:], s.base[:], s.span[:] = layout.position, layout.base, layout.span
        self.next_position = int((s.base[:, -1] + s.span[:, -1]).max())

    def move(self, delta: Tensor) -> None:
        """Add `delta` (size,) to the slots' positions."""
        s = self.in_use()
        self.place(Layout(s.position + delta, s.base + delta, s.span))

    def _rotate(self, where: Tensor) -> None:
        """Rotate the keys at these slots (W,) to where their positions now say."""
        if len(where):
            self.rotated[:, :, where.to(self.device)] = self._turned(where, where)[1]

    def _turned(self, index: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        """The raw keys at places (W,), or (L, W) by layer, and these rotated to where the slots at
        places `where` (W,) now stand: both (L, H, W, D)."""
        positions = self.slots.position[..., where].to(self.device)
        angles = self.rope.cos_sin(positions.flatten(1))
        cos, sin = (a.view(positions.shape[1], len(where), -1) for a in angles)
        index = index.to(self.device).expand(len(cos), -1)
        both = gather_rotate(self.raw.flatten(0, 1), index, cos, sin)
        return tuple(x.unflatten(0, self._shape[:2]) for x in both)

    # ------------------------------------------------------------ pages

    def opening(self) -> "KVCache":
        """A new cache with the pinned prompt alone, and room for a question."""
        room = self.num_pinned + QUESTION
        new = KVCache(*self._shape, self.rope, self.num_axes, self.dtype, self.device, room)
        new.insert(self.copy_out(torch.arange(self.num_pinned)))
        new.num_pinned, new._groups = new.size, self._groups
        return new

    def copy_out(self, index: Tensor) -> Block:
        """A copy of the slots at these places (K,) of the cache, pinned ones counted."""
        raw, value = (b.index_select(2, index.to(self.device)) for b in (self.raw, self.value))
        return Block(raw, value, self.slots.select(index))

    def insert(self, block: Block) -> None:
        """Bring slots back in where their age puts them, and close the gaps behind them."""
        if not (count := len(block.slots)):
            return
        self.slots = self.slots.spread(max(block.slots.planes, self.slots.planes))
        self._reserve(self.size + count)
        self._write(block, slice(self.size, self.size + count))
        self.size += count
        start = self.num_pinned
        order = by_age(self.in_use().map(lambda f: f[..., start:])) + start
        every = torch.arange(self.size)
        index = torch.cat((every[:start].expand(len(order), -1), order), 1)
        index = index if self.layered else index[0]
        self._describe(slice(self.size), index)
        self._stand(close_gaps(self.in_use()))
        kept = *self._turned(index, every), picked(self.value, index.to(self.device))
        for buffer, moved in zip((self.raw, self.rotated, self.value), kept, strict=True):
            buffer[:, :, : self.size] = moved

    def _write(self, block: Block, part: slice) -> None:
        self.raw[:, :, part], self.value[:, :, part] = block.raw, block.value
        self.slots.write(part, block.slots.spread(self.slots.planes))

    # ------------------------------------------------------------ branches

    def lift(self, start_slot: int) -> Branch:
        """Take the slots from `start_slot` on out of the cache (a branch being answered)."""
        block = self.copy_out(torch.arange(start_slot, self.size))
        start = int(block.slots.base[0, 0]) if len(block.slots) else self.next_position
        branch = Branch(block.raw, block.value, block.slots, start, self.next_position - start)
        self.truncate(start_slot)
        return branch

    def put_back(self, branch: Branch, start: int | None = None) -> None:
        """Append a lifted branch, moved to begin at position `start` (default: where it was)."""
        count = branch.raw.shape[2]
        self._reserve(self.size + count)
        part = slice(self.size, self.size + count)
        shift = 0 if start is None else start - branch.start
        self._write(branch, part)
        self.slots.position[..., part] += shift
        self.slots.base[:, part] += shift
        self._rotate(torch.arange(part.start, part.stop))
        self.size += count
        self.next_position = branch.start + shift + branch.length

    def reset(self) -> None:
        """Forget everything, the pinned prompt too; the bytes are overwritten with zeros."""
        self.slots = Slots.empty(self.num_axes, self.capacity)
        self.size = self.num_pinned = self.next_position = self._groups = 0
        self.wipe()
