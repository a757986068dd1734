"""Linear layers with their weights laid out once for oneDNN, for models that run on a CPU.

A frame or a question is 10 to 30 rows. With the layout kept they take about two thirds of the time
of torch's own float32 product (docs/results.md); the numbers are the same up to rounding.
"""
import torch
from torch import Tensor, nn

ROWS = 16   # what the layout is made for; others run as well


class PackedLinear(nn.Module):
    """Stands in for an `nn.Linear` without bias in float32 on a CPU."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, None, "none", [], "")


def can_pack(linear: nn.Module) -> bool:
    """Whether this layer can be laid out here."""
    if not (type(linear) is nn.Linear and linear.bias is None):
        return False
    weight = linear.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return False
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    )


@torch.inference_mode(False)
@torch.no_grad()
def pack_linears(model: nn.Module) -> int:
    """Replace every layer that can be packed; returns how many were. Weights shared with another
    module (tied embeddings) stay there."""
    packed = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if can_pack(child):
                setattr(module, name, PackedLinear(child))
                packed += 1
    return packed
