"""A bare cache with made-up keys: no model, so ten thousand frames take seconds."""
import torch

from streamassist.cache import KVCache
from streamassist.rope import Rope, rotate
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


def fresh_of(cache: KVCache, layer: int) -> torch.Tensor:
    """Keys rotated anew to where the slots say they stand."""
    cos, sin = cache.rope.cos_sin(cache.used(layer).position)
    return rotate(cache.raw[layer, :, : cache.size], cos, sin)


def check_rotation(cache: KVCache, tolerance: float = 1e-5) -> None:
    for layer in range(LAYERS):
        torch.testing.assert_close(
            cache.rotated[layer, :, : cache.size], fresh_of(cache, layer), atol=tolerance, rtol=0
        )


class MadeUpModel:
    """What a memory policy may ask of a model, with made-up numbers: the same ids give the same
    keys, queries and embeddings."""

    max_context, device, tokens_per_frame = 1 << 20, torch.device("cpu"), 4
    frames_at_once = 32
    query_heads = 2 * HEADS
    describe_prompt, stop_ids = "Describe.", frozenset({7})

    def __init__(self, num_axes: int = 1):
        self.num_axes, self._blank = num_axes, new_cache(num_axes)

    def new_cache(self) -> KVCache:
        return new_cache(self.num_axes)

    def encode_text(self, text: str) -> list[int]:
        return list(text.encode())

    def detokenize(self, ids) -> str:
        return bytes(ids).decode()

    def question_ids(self, question: str, history=()) -> list[int]:
        return self.encode_text(question + "\n")

    def probe(self, statement: str, cache: KVCache, pts: float) -> float:
        ids = self.encode_text(statement)
        append(cache, self.text_chunk(ids, cache.next_position, Role.BRANCH, pts), seed=sum(ids))
        return sum(ids) % 100 / 100

    def embed_text(self, ids) -> torch.Tensor:
        return torch.stack([keys_of(1000 + i, 1)[0, 0, 0] for i in ids])

    def text_chunk(self, ids, start: int, role: Role, pts: float) -> Chunk:
        positions = torch.arange(start, start + len(ids)).expand(self.num_axes, -1)
        return Chunk(torch.tensor(ids), positions, start, len(ids), role, pts)

    def frame_chunk(self, tokens: VisualTokens, start: int) -> Chunk:
        count = len(tokens.embeds)
        self._blank.next_position = start
        chunk = frame_chunk(self._blank, tokens.frame, tokens.grid[1], tokens.pts)
        places = torch.arange(count) if tokens.places is None else tokens.places
        chunk.positions, chunk.visual = chunk.positions[:, places], tokens
        chunk.ids, chunk.visual_at = chunk.ids[:count], torch.arange(count)
        return chunk

    def forward(self, chunk: Chunk, cache: KVCache) -> torch.Tensor:
        append(cache, chunk, seed=chunk.frame if chunk.frame >= 0 else int(chunk.ids.sum()))
        return torch.zeros(16)

    def queries_of(self, chunk: Chunk, cache: KVCache) -> torch.Tensor:
        self.forward(chunk, cache)
        draw = torch.Generator().manual_seed(10_000 + int(chunk.ids.sum()) + chunk.frame)
        shape = (LAYERS, self.query_heads, chunk.positions.shape[1], DIM)
        return torch.randn(shape, generator=draw)


def frame_tokens(frame: int, side: int = 2, pts: float | None = None) -> VisualTokens:
    """Tokens as an encoder would give them; neighbouring frames look alike, scenes of 25 differ."""
    scene = keys_of(50_000 + frame // 25, side * side)[0, 0]
    own = keys_of(60_000 + frame, side * side)[0, 0]
    pts = frame * 0.5 if pts is None else pts
    return VisualTokens(scene + 0.2 * own, (1, side, side), pts, frame)


def watch(policy, cache: KVCache, frame: int, side: int = 2) -> None:
    """One frame through a policy's hooks, as the engine does it."""
    model = policy.model
    tokens = frame_tokens(frame, side)
    policy.observe(tokens, cache)
    chunk = model.frame_chunk(tokens, cache.next_position)
    if policy.frame_queries:
        policy.queries = model.queries_of(chunk, cache)
    else:
        model.forward(chunk, cache)
    policy.after_prefill(cache)
