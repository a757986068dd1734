"""A bare cache with made-up keys: no model, so ten thousand frames take seconds."""
import torch

from streamassist.cache import KVCache
from streamassist.rope import Rope
from streamassist.types import Chunk, Role, VisualTokens

HEADS, DIM, LAYERS = 2, 8, 2


def new_cache(num_axes: int = 1, dtype: torch.dtype = torch.float32) -> KVCache:
    rope = Rope.one_axis(DIM, 1e4) if num_axes == 1 else Rope.mrope(DIM, 1e4, [1, 1, 2])
    return KVCache(LAYERS, HEADS, DIM, rope, num_axes, dtype)


def keys_of(seed: int, count: int) -> torch.Tensor:
    """(LAYERS, HEADS, count, DIM), the same for the same seed."""
    return torch.randn(LAYERS, HEADS, count, DIM, generator=torch.Generator().manual_seed(seed))


def append(cache: KVCache, chunk: Chunk, seed: int) -> None:
    raw = keys_of(seed, chunk.positions.shape[1])
    with cache.appending(chunk):
        for layer in range(LAYERS):
            cache.update(layer, raw[layer], raw[layer] + 1)


def text_chunk(cache: KVCache, count: int, role: Role = Role.TEXT, pts: float = 0.0) -> Chunk:
    start = cache.next_position
    positions = torch.arange(start, start + count).expand(cache.num_axes, -1)
    return Chunk(torch.zeros(count, dtype=torch.int64), positions, start, count, role, pts)


def frame_chunk(cache: KVCache, frame: int, side: int = 2, pts: float | None = None) -> Chunk:
    """A frame of side x side tokens; with three axes it spans `side` positions, else side**2."""
    start, count = cache.next_position, side * side
    if cache.num_axes == 1:
        positions, span = torch.arange(start, start + count)[None], count
    else:
        rows = torch.arange(side).repeat_interleave(side)
        positions = torch.stack((torch.zeros_like(rows), rows, torch.arange(side).repeat(side)))
        positions, span = positions + start, side
    pts = frame * 0.5 if pts is None else pts
    tokens = VisualTokens(torch.zeros(count, DIM), (1, side, side), pts, frame)
    ids = torch.zeros(count, dtype=torch.int64)
    return Chunk(ids, positions, start, span, Role.VISUAL, pts, frame, tokens, torch.arange(count))


def pinned_cache(num_axes: int = 1, prompt: int = 3) -> KVCache:
    cache = new_cache(num_axes)
    append(cache, text_chunk(cache, prompt, Role.PROMPT), seed=999)
    cache.pin()
    return cache


def add_frame(cache: KVCache, frame: int, side: int = 2) -> None:
    append(cache, frame_chunk(cache, frame, side), seed=frame)
