"""block_scores: how well blocks of keys fit a query, without looking at each key alone.

query: (H, D); keys: (H, T, D); blocks of `size` keys, the last one may be shorter. by "mean": the
query times the block's mean key (ReKV, arXiv 2503.00540); by "bound": the most that any key between
the block's least and greatest numbers could give (Quest, 2406.10774; LServe, 2502.14866). Returns
(H, P) float32. `top_blocks` sums the heads and gives the best, ascending.
"""
import torch
from torch import Tensor

from kernels.dispatch import use_triton

WAYS = ("mean", "bound")


def block_scores_ref(query: Tensor, keys: Tensor, size: int, by: str = "mean") -> Tensor:
    q, scores = query.float(), []
    for start in range(0, keys.shape[1], size):
        block = keys[:, start : start + size].float()
        if by == "mean":
            scores.append((q * block.mean(1)).sum(-1))
        else:
            scores.append(torch.maximum(q * block.amin(1), q * block.amax(1)).sum(-1))
    return torch.stack(scores, 1)


def block_scores(query: Tensor, keys: Tensor, size: int, by: str = "mean") -> Tensor:
    if by not in WAYS:
        raise ValueError(f"by must be one of {WAYS}, not {by!r}")
    if not use_triton(keys):
        return block_scores_ref(query, keys, size, by)
    from kernels.block_scores_triton import block_scores_triton

    return block_scores_triton(query, keys, size, by)


def top_blocks(scores: Tensor, count: int) -> Tensor:
    """(H, P) -> (count,) places of the blocks whose sum over the heads is highest, ascending."""
    return scores.sum(0).topk(min(count, scores.shape[1])).indices.sort().values
