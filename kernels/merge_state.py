"""merge_state: join attention over two disjoint sets of keys.

o: (T, H, D); lse: (T, H) float32, natural log of the sum of exp(scores). Either set may be empty
for a row (lse = -inf, and its o is not read), not both. Online softmax: arXiv 1805.02867.
"""
import torch
from torch import Tensor

from kernels.dispatch import use_triton

State = tuple[Tensor, Tensor]   # (o, lse)


def merge_state_ref(o_a: Tensor, lse_a: Tensor, o_b: Tensor, lse_b: Tensor) -> State:
    lse = torch.logaddexp(lse_a, lse_b)
    out = torch.zeros_like(o_a, dtype=torch.float32)
    for o, part in ((o_a, lse_a), (o_b, lse_b)):
        weight = (part - lse).exp()[..., None]
        out = out + torch.where(weight > 0, weight * o.float(), 0.0)
    return out.to(o_a.dtype), lse


def merge_state(o_a: Tensor, lse_a: Tensor, o_b: Tensor, lse_b: Tensor) -> State:
    if not use_triton(o_a):
        return merge_state_ref(o_a, lse_a, o_b, lse_b)
    from kernels.merge_state_triton import merge_state_triton

    return merge_state_triton(o_a, lse_a, o_b, lse_b)
