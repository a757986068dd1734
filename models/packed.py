"""Linear layers laid out for models that run on a CPU: one way for frames, another for words.

A frame or a question is 10 to 30 rows. With the layout kept for oneDNN they take two thirds
(float32) or four fifths (bfloat16) of the time of torch's own product, up to rounding the same. A
word being said is one row, and reading the weights is all its time: for it they stand beside in 8
bits, with a scale a row (docs/results.md; our LoRA is merged in, so the text model's own 4 bits
would not do).
"""
import torch
from torch import Tensor, nn

ROWS = 16   # what the layout is made for; others run as well


class PackedLinear(nn.Module):
    """Stands in for an `nn.Linear` without bias in float32 or bfloat16 on a CPU."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, None, "none", [], "")


def can_pack(linear: nn.Module) -> bool:
    """Whether this layer can be laid out here."""
    if not (type(linear) is nn.Linear and linear.bias is None):
        return False
    weight, ops = linear.weight, torch.ops.mkldnn
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return ops._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32 and hasattr(ops, "_reorder_linear_weight")


class DecodeLinear(nn.Module):
    """`whole` for several rows; one alone is multiplied with int8 weights (N, K), scales (N,)."""

    def __init__(self, linear: nn.Linear, whole: nn.Module):
        super().__init__()
        weight, self.whole = linear.weight.detach(), whole
        scale = (weight.float().abs().amax(1) / 127).clamp_min(1e-12).to(weight.dtype)
        self.register_buffer("scale", scale, persistent=False)
        rounded = (weight.float() / scale.float()[:, None]).round().clamp(-127, 127)
        self.register_buffer("rounded", rounded.to(torch.int8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() > x.shape[-1]:
            return self.whole(x)
        row = x.reshape(1, -1)
        return torch._weight_int8pack_mm(row, self.rounded, self.scale).view(*x.shape[:-1], -1)


def can_decode(linear: nn.Module) -> bool:
    """Whether torch multiplies a row with this layer's weights in 8 bits here."""
    plain = type(linear) is nn.Linear and linear.bias is None
    return plain and linear.weight.device.type == "cpu" and hasattr(torch, "_weight_int8pack_mm")


@torch.inference_mode(False)
@torch.no_grad()
def pack_linears(model: nn.Module, decode: bool = False) -> int:
    """Replace every layer that can be packed, with `decode` every one that can decode as well, but
    for the last one, which has a single row in prefill too; returns how many were. Weights shared
    with another module (tied embeddings) stay there."""
    replaced = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            new = PackedLinear(child) if can_pack(child) else child
            if decode and can_decode(child) and name != "lm_head":
                new = DecodeLinear(child, new)
            if new is not child:
                setattr(module, name, new)
                replaced += 1
    return replaced
