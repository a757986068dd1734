"""Weights in few bits: what we ship in 8, and any linear layer rounded to see what it costs.

A shipped matrix is int8 with one scale a row (half of bfloat16's bytes); `unpacked` gives the
matrices back. `round_linears` is for measuring: it rounds what the model runs with, in place.
"""
from collections.abc import Mapping

import torch
from torch import Tensor, nn

SCALE = ".scale"   # behind the name of a matrix: the scales of its rows
GROUP = 32         # numbers along a row that share a scale, as in GGUF's Q8_0 and Q4_1


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices (R, C) as int8 with scales (R,) float32; everything else in bfloat16."""
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        if value.ndim != 2 or min(value.shape) < 2:
            out[name] = value.to(torch.bfloat16) if value.is_floating_point() else value
            continue
        scale = value.float().abs().amax(1).clamp_min(1e-12) / 127
        out[name] = (value.float() / scale[:, None]).round().to(torch.int8)
        out[name + SCALE] = scale
    return out


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `packed` was given, rounded; those that are not packed as they are."""
    scales = {name for name in state if name.endswith(SCALE) and name[: -len(SCALE)] in state}
    return {
        name: value.float() * state[name + SCALE][:, None] if name + SCALE in scales else value
        for name, value in state.items() if name not in scales
    }


@torch.no_grad()
def round_linears(model: nn.Module, bits: int) -> int:
    """Round every linear layer's weight to `bits`, a scale and a least value for each group of
    `GROUP` numbers of a row; returns how many layers were."""
    count = 0
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.in_features % GROUP == 0:
            layer.weight.copy_(rounded(layer.weight, bits))
            count += 1
    return count


def rounded(weight: Tensor, bits: int) -> Tensor:
    """(R, C) with 2**bits levels between the least and the greatest number of each group."""
    groups = weight.float().unflatten(1, (-1, GROUP))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp_min(1e-12)
    return (((groups - low) / step).round() * step + low).flatten(1).to(weight.dtype)
