"""gather_rotate: take the kept keys and turn them to where they stand now, in one pass.

raw: (R, T, D) keys before rotary embedding, a row for each layer and head; index: (G, K) int64
places that are kept; cos, sin: (G, K, D) float32 of their new positions; row r uses group
r * G // R, so that G = 1 is one choice for all layers and G = L one for each. Returns kept raw and
rotated keys, both (R, K, D) in raw's type; the turn is made in float32, halves of D paired.
"""
import torch
from torch import Tensor


def gather_rotate_ref(
    raw: Tensor, index: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor]:
    each = len(raw) // len(index)
    index, cos, sin = (x.repeat_interleave(each, 0) for x in (index, cos, sin))
    kept = raw.gather(1, index[..., None].expand(-1, -1, raw.shape[-1]))
    x, half = kept.float(), raw.shape[-1] // 2
    swapped = torch.cat((-x[..., half:], x[..., :half]), -1)
    return kept, (x * cos + swapped * sin).to(raw.dtype)


def gather_rotate(raw: Tensor, index: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    if not raw.is_cuda:
        return gather_rotate_ref(raw, index, cos, sin)
    from kernels.gather_rotate_triton import gather_rotate_triton

    return gather_rotate_triton(raw, index, cos, sin)
