"""Forward passes of fixed shape, and CUDA graphs of them (off by default: --cuda-graphs).

For a single token, or a small frame, a GPU may wait for Python to launch its kernels. As in the
chunk-wise execution of ViCoStream (arXiv 2606.19849) shapes are fixed here, in our own way: the
rows of a chunk are padded to a multiple of `ROWS`, and attention looks at a whole bucket of the
cache's slots, of which those behind each row are masked; keys and values are written by index. So
the same launches serve every length of the stream: on a GPU they are recorded once and then
replayed. What is computed is a plain function, `through`, tested on CPUs, where it is slower than
the usual way; the head of the model runs outside.
"""
import weakref
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from models.attention import Pass
from models.cache_view import LayerView
from streamassist.cache import KVCache
from streamassist.errors import StreamAssistError
from streamassist.rope import rotate
from streamassist.types import Chunk

ROWS = 32           # chunks of more than one row are padded to a multiple of this
LEAST_SLOTS = 512   # the smallest bucket; each next one is twice as large, up to the capacity
MOST_GRAPHS = 32    # the longest without use goes


def rows_for(count: int) -> int:
    """Rows that a chunk of `count` takes: one alone, else whole blocks."""
    return 1 if count == 1 else -(-count // ROWS) * ROWS


def slots_for(count: int, capacity: int) -> int:
    """Slots that are looked at where `count` are in use, the new rows' included."""
    slots = LEAST_SLOTS
    while slots < count:
        slots *= 2
    return min(slots, capacity)


@dataclass(slots=True)
class Rows:
    """The inputs of R rows, always in the same memory. embeds: (1, R, D); deep: (levels, R, D)
    added behind the first decoder layers; cos, sin: (R, D_head) float32; past: (1,) int64, slots
    in use before them. What lies behind the chunk's own rows is old, finite and seen by none."""

    embeds: Tensor
    deep: Tensor
    cos: Tensor
    sin: Tensor
    past: Tensor

    @classmethod
    def like(cls, count: int, embeds: Tensor, levels: int, cos: Tensor) -> "Rows":
        turns = cos.new_zeros(count, cos.shape[1])
        return cls(
            embeds.new_zeros(1, count, embeds.shape[1]),
            embeds.new_zeros(levels, count, embeds.shape[1]),
            turns, turns.clone(), torch.zeros(1, dtype=torch.int64, device=embeds.device),
        )

    def fill(self, embeds: Tensor, chunk: Chunk, cos: Tensor, sin: Tensor, past: int) -> None:
        """embeds (S, D) and angles (S, D_head), S <= R; of the chunk only what goes deeper."""
        count = len(embeds)
        self.embeds[0, :count], self.cos[:count], self.sin[:count] = embeds, cos, sin
        self.deep.zero_()
        if chunk.visual is not None:
            at = chunk.visual_at.to(embeds.device)
            for level, rows in zip(self.deep, chunk.visual.deepstack, strict=True):
                level[at] = rows.to(level.dtype)
        self.past.fill_(past)


class FixedLayer(LayerView):
    """One layer of a KVCache, written at `where` and seen up to `slots`, whatever its size."""

    def __init__(self, cache: KVCache, layer: int, rows: Rows, where: Tensor, slots: int):
        super().__init__(cache, layer)
        self.buffers = [b[layer] for b in (cache.raw, cache.rotated, cache.value)]
        self.rows, self.where, self.slots = rows, where, slots

    def update(self, key_states: Tensor, value_states: Tensor, *_, **__) -> tuple[Tensor, Tensor]:
        """Raw keys (1, H, R, D) -> rotated keys and values (1, H, slots, D)."""
        key, value = key_states[0], value_states[0]
        turned = rotate(key, self.rows.cos, self.rows.sin)
        for buffer, new in zip(self.buffers, (key, turned, value), strict=True):
            buffer.index_copy_(1, self.where, new)
        return tuple(b[None, :, : self.slots] for b in self.buffers[1:])

    def get_seq_length(self) -> int:
        return self.slots - self.where.shape[0]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.slots, 0


def through(
    decoder: PreTrainedModel, now: Pass, rows: Rows, cache: KVCache, slots: int
) -> Tensor:
    """The rows through all layers of the decoder, behind `rows.past` slots of the cache, whose
    buffers take their keys and values: (1, R, D). No value is read back from the device, and no
    shape depends on one."""
    count = rows.embeds.shape[1]
    where = rows.past + torch.arange(count, device=rows.past.device)
    now.fix(rows.cos, rows.sin, where, slots, rows.embeds.dtype)
    layers = [FixedLayer(cache, i, rows, where, slots) for i in range(cache.num_layers)]
    with ExitStack() as hooks:
        for layer, level in zip(decoder.layers, rows.deep, strict=False):   # the first few
            handle = layer.register_forward_hook(lambda *seen, level=level: seen[2] + level)
            hooks.callback(handle.remove)
        out = decoder(
            inputs_embeds=rows.embeds, position_ids=where[None],
            past_key_values=Cache(layers=layers), use_cache=True,
        )
    return out.last_hidden_state


@dataclass(slots=True)
class Recorded:
    """A shape that was met: `graph` is None until it is met again. The graph holds addresses, so it
    is good for as long as `buffer`, a cache's raw keys, is alive; the reference tells its end."""

    buffer: weakref.ref
    graph: "torch.cuda.CUDAGraph | None" = None
    hidden: Tensor | None = None


class FixedShapes:
    """Forward passes by `through`. With `capture` (CUDA only) a shape is computed eagerly when it
    is first met, recorded when it is met again, and replayed from then on."""

    def __init__(self, model: PreTrainedModel, now: Pass, capture: bool):
        if capture and (model.device.type != "cuda" or getattr(model, "is_quantized", False)):
            raise StreamAssistError(
                "--cuda-graphs needs an NVIDIA GPU and --quantize none; leave it out."
            )
        vision = getattr(model.config, "vision_config", None)
        self.levels = len(getattr(vision, "deepstack_visual_indexes", ()))
        self.model, self.now, self.capture = model, now, capture
        self.decoder = model.get_decoder()
        self._rows: dict[int, Rows] = {}
        self._met: OrderedDict[tuple[int, int, int], Recorded] = OrderedDict()
        self._pool = torch.cuda.graph_pool_handle() if capture else None

    @property
    def graphs(self) -> int:
        """Recorded so far and still good."""
        return sum(met.graph is not None for met in self._met.values())

    def hidden(
        self, embeds: Tensor, chunk: Chunk, cache: KVCache, cos: Tensor, sin: Tensor
    ) -> Tensor:
        """A chunk, its embedded rows (S, D) and angles (S, D_head) -> (1, S, D) behind the last
        layer. The cache must have room for `rows_for(S)` more slots, and still has its size."""
        count = rows_for(len(embeds))
        if count not in self._rows:
            self._rows[count] = Rows.like(count, embeds, self.levels, cos)
        rows = self._rows[count]
        rows.fill(embeds, chunk, cos, sin, cache.size)
        slots = slots_for(cache.size + count, cache.capacity)
        run = self._replayed if self.capture else self._computed
        return run(rows, cache, slots)[:, : len(embeds)]

    def _computed(self, rows: Rows, cache: KVCache, slots: int) -> Tensor:
        return through(self.decoder, self.now, rows, cache, slots)

    def _replayed(self, rows: Rows, cache: KVCache, slots: int) -> Tensor:
        key = id(cache.raw), rows.embeds.shape[1], slots
        if key not in self._met:
            self._meet(key, cache.raw)
            return self._computed(rows, cache, slots)
        met = self._met[key]
        self._met.move_to_end(key)
        if met.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                met.hidden = self._computed(rows, cache, slots)
            met.graph = graph
        met.graph.replay()
        return met.hidden.clone()   # the pool is shared: the next replay writes over it

    def _meet(self, key: tuple[int, int, int], buffer: Tensor) -> None:
        """A shape for the first time; it is forgotten when the buffer goes."""
        while len(self._met) >= MOST_GRAPHS:
            self._met.popitem(last=False)
        self._met[key] = Recorded(weakref.ref(buffer, lambda _: self._met.pop(key, None)))
