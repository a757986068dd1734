"""Scores by which memory methods choose slots, and the choosing. Scores are float32."""
import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.rope import rotate


def attention_mass(cache: KVCache, queries: Tensor, start: int | None = None) -> Tensor:
    """How much of the queries' attention each unpinned slot gets.

    queries: (L, Hq, S, D) raw, standing at positions start, start + 1, ... (default: behind the
    cache). The softmax runs over all slots, the pinned ones included. Returns (L, Hk, len(cache)):
    the mean over the queries and over the query heads that share a key head.
    """
    start = cache.next_position if start is None else start
    count, kv_heads = queries.shape[2], cache.raw.shape[1]
    positions = torch.arange(start, start + count, device=cache.device)
    cos, sin = cache.rope.cos_sin(positions.expand(cache.num_axes, -1))
    rotated = rotate(queries.to(cache.device), cos, sin).unflatten(1, (kv_heads, -1))
    keys = cache.rotated[:, :, : cache.size].float()
    scores = torch.einsum("lhgsd,lhtd->lhgst", rotated, keys) / keys.shape[-1] ** 0.5
    return scores.softmax(-1).mean((2, 3))[:, :, cache.num_pinned :]


def relevance(queries: Tensor, keys: Tensor) -> Tensor:
    """Dot product of the mean raw query of each head with raw keys.

    queries: (L, Hq, S, D); keys: (L, Hk, P, D) of P pages. Returns (L, P): the sum over heads,
    each key head counted once for every query head that shares it (ReKV, arXiv 2503.00540).
    """
    mean = queries.mean(2).unflatten(1, (keys.shape[1], -1)).sum(2)   # (L, Hk, D)
    return torch.einsum("lhd,lhpd->lp", mean.to(keys.device), keys.float())


def top_slots(score: Tensor, count: int, protected: Tensor | None = None) -> Tensor:
    """Places of the `count` highest scores, ascending: (..., T) -> (..., count).

    protected: (..., T) or (T,) bool, chosen before any other. Of equal scores the later place wins.
    """
    total = score.shape[-1]
    if protected is not None:
        score = score.masked_fill(protected.to(score.device), torch.inf)
    order = score.flip(-1).argsort(dim=-1, descending=True, stable=True)
    return (total - 1 - order[..., :count]).sort(dim=-1).values


def min_max(score: Tensor) -> Tensor:
    """(..., T) scaled to 0..1 in each row; a row of equal scores becomes 0."""
    low, high = score.amin(-1, keepdim=True), score.amax(-1, keepdim=True)
    return (score - low) / (high - low).clamp(min=1e-12)


def standard(scores: Tensor) -> Tensor:
    """(..., P) with mean 0 and spread 1 in each row; a row of equal scores becomes 0."""
    centred = scores.float() - scores.float().mean(-1, keepdim=True)
    return centred / centred.pow(2).mean(-1, keepdim=True).sqrt().clamp(min=1e-6)


def adjacent_cosine(features: Tensor) -> Tensor:
    """(T, F) -> (T - 1,) cosine of each row with the next."""
    return F.cosine_similarity(features[:-1].float(), features[1:].float(), dim=-1)


def frame_means(values: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the slots of each frame.

    values: (..., T, D); frame: (T,). Returns the frames in ascending order (P,) and (..., P, D).
    """
    frames, inverse, counts = frame.unique(return_inverse=True, return_counts=True)
    inverse = inverse.to(values.device)
    total = values.new_zeros(*values.shape[:-2], len(frames), values.shape[-1], dtype=torch.float32)
    total.index_add_(-2, inverse, values.float())
    return frames, total / counts.to(values.device)[:, None]
