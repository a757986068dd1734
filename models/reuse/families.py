"""The vision towers of Qwen-VL and SmolVLM, as `Tower` sees them."""
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reuse.tower import Layer, Tower

Colour = tuple[float, float, float]


def qwen_tower(
    visual: nn.Module, mean: Colour, std: Colour, order: Callable[[Tensor], Tensor | None]
) -> Tower:
    """Qwen2.5-VL and Qwen3-VL. order: a grid (1, 3) -> the patch numbers (N,) as the tower sorts
    them, or None where they stay as they come."""
    layers = tuple(
        Layer(
            block, block.attn.num_heads, block.norm1,
            *(partial(third, block.attn.qkv, i) for i in range(3)),
            block.attn.proj, block.norm2, block.mlp,
        )
        for block in visual.blocks
    )

    def patches(rows: Tensor, grid_thw: Tensor, **_: Any) -> Tensor:
        """A patch is two frames deep: the same one twice, or a pair."""
        pixels, sorted_as = rows.view(len(rows), 3, -1).float(), order(grid_thw)
        return colours(pixels if sorted_as is None else pixels[sorted_as], mean, std)

    exits = {*getattr(visual, "deepstack_visual_indexes", ()), len(layers) - 1}
    return Tower(visual, layers, frozenset(exits), patches)


def smol_tower(visual: nn.Module, mean: Colour, std: Colour) -> Tower:
    """The SigLIP tower of SmolVLM: patches row by row, no rotary embedding, no windows."""
    layers = tuple(
        Layer(
            block, block.self_attn.num_heads, block.layer_norm1, block.self_attn.q_proj,
            block.self_attn.k_proj, block.self_attn.v_proj, block.self_attn.out_proj,
            block.layer_norm2, block.mlp,
        )
        for block in visual.encoder.layers
    )

    def patches(pixel_values: Tensor, **_: Any) -> Tensor:
        side = visual.patch_size
        pixels = F.unfold(pixel_values.float(), side, stride=side)[0].T
        return colours(pixels.unflatten(1, (3, -1)), mean, std)

    return Tower(visual, layers, frozenset({len(layers) - 1}), patches)


def third(fused: nn.Linear, number: int, x: Tensor) -> Tensor:
    """Queries (0), keys (1) or values (2) of a layer that makes all three, (N, D) -> (N, D).

    Weights that are stored in a few bits cannot be cut, so there all three are made.
    """
    if type(fused) is not nn.Linear:
        return fused(x).chunk(3, -1)[number]
    part = slice(number * (size := fused.out_features // 3), (number + 1) * size)
    return F.linear(x, fused.weight[part], None if fused.bias is None else fused.bias[part])


def colours(pixels: Tensor, mean: Colour, std: Colour) -> Tensor:
    """(N, 3, P) with mean and deviation taken out -> as they were, 0..1."""
    shift, scale = (torch.tensor(c, device=pixels.device)[:, None] for c in (mean, std))
    return pixels * scale + shift
