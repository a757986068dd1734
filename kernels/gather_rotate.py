"""gather_rotate: take the kept keys and turn them to where they stand now, in one pass.

raw: (R, T, D) keys before rotary embedding, a row for each layer and head; index: (G, K) int64
places that are kept; cos, sin: (G, K, D) float32 of their new positions; row r uses group
r * G // R, so that G = 1 is one choice for all layers and G = L one for each. Returns kept raw and
rotated keys, both (R, K, D) in raw's type; the turn is made in float32, halves of D paired.
"""
import torch
from torch import Tensor

from kernels.dispatch import use_triton


def gather_rotate_ref(
    raw: Tensor, index: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor]:
    half = raw.shape[-1] // 2
    if len(index) == 1 or index.stride(0) == 0:   # the same choice for all
        kept = raw.index_select(1, index[0])
    else:
        each = index.repeat_interleave(len(raw) // len(index), 0)
        kept = raw.gather(1, each[..., None].expand(-1, -1, raw.shape[-1]))
    x = kept.float().unflatten(0, (len(index), -1))   # (G, R / G, K, D)
    swapped = torch.cat((-x[..., half:], x[..., :half]), -1)
    turned = x * cos[:, None] + swapped * sin[:, None]
    return kept, turned.flatten(0, 1).to(raw.dtype)


def gather_rotate(raw: Tensor, index: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    if not use_triton(raw):
        return gather_rotate_ref(raw, index, cos, sin)
    from kernels.gather_rotate_triton import gather_rotate_triton

    return gather_rotate_triton(raw, index, cos, sin)
