"""The trained parts of nano: projector and LoRA, around a frozen text model and image backbone."""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nano.backbone import FEATURE_DIM, EfficientNetLite0
from models.nano.weights import BACKBONE

TOKEN_SIDE = 4
NUM_TOKENS = TOKEN_SIDE**2
MOST_FRAMES = 8   # of a training sequence
LORA_RANK = 16
LORA_SCALE = 2.0
LORA_TARGETS = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}


class Projector(nn.Module):
    """Backbone features (B, 16, 1280) -> text embeddings (B, 16, D), with a learned place code.

    Every token sees its own cell and the average of the picture. The small gain keeps the first
    steps close to the scale of the text model's own embeddings.
    """

    def __init__(self, dim: int = 576):
        super().__init__()
        self.norm = nn.LayerNorm(FEATURE_DIM)
        self.drop = nn.Dropout(0.0)   # training sets its rate
        self.up = nn.Linear(FEATURE_DIM, 2 * dim)
        self.around = nn.Linear(FEATURE_DIM, 2 * dim, bias=False)
        self.down = nn.Linear(2 * dim, dim)
        self.place = nn.Parameter(torch.zeros(NUM_TOKENS, dim))
        self.gain = nn.Parameter(torch.tensor(0.1))

    def forward(self, features: Tensor) -> Tensor:
        x = self.norm(features.float()).to(self.up.weight.dtype)
        hidden = self.up(self.drop(x)) + self.around(self.drop(x.mean(1, keepdim=True)))
        return (self.down(self.drop(F.gelu(hidden))) + self.place) * self.gain


@torch.no_grad()
def corrected(weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """W + scale * b @ a in float32."""
    return weight.float() + LORA_SCALE * b.float() @ a.float()


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained low-rank correction (arXiv 2106.09685).

    Runs in the type of the frozen weight, whatever the type of its input.
    """

    def __init__(self, frozen: nn.Linear, rank: int = LORA_RANK):
        super().__init__()
        fan_in = frozen.in_features
        self.register_buffer("weight", frozen.weight.detach(), persistent=False)
        self.lora_a = nn.Parameter(torch.randn(rank, fan_in) / math.sqrt(fan_in))
        self.lora_b = nn.Parameter(torch.zeros(frozen.out_features, rank))
        self.merged: Tensor | None = None

    def merge(self, on: bool) -> None:
        """Keep the corrected weight at hand, for many passes without learning; or drop it."""
        whole = corrected(self.weight, self.lora_a, self.lora_b) if on else None
        self.merged = None if whole is None else whole.to(self.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        low = x.to(self.weight.dtype)
        if self.merged is not None:
            return F.linear(low, self.merged).to(x.dtype)
        down = F.linear(low, self.lora_a.to(low.dtype))
        out, up = F.linear(low, self.weight), self.lora_b.to(low.dtype).T
        out.flatten(0, -2).addmm_(down.flatten(0, -2), up, alpha=LORA_SCALE)  # saves two copies
        return out.to(x.dtype)


def lora_sites(text_model: nn.Module):
    """Yield (layer index, parent module, attribute name) of every corrected linear layer."""
    for i, layer in enumerate(text_model.model.layers):
        for parent, names in LORA_TARGETS.items():
            for name in names:
                yield i, getattr(layer, parent), name


def load_backbone(dtype: torch.dtype = torch.float32) -> EfficientNetLite0:
    """The verified ImageNet weights, batch norms folded, ready for inference."""
    state = torch.load(BACKBONE.locate(), map_location="cpu", weights_only=True)
    backbone = EfficientNetLite0()
    backbone.load_state_dict(state)
    backbone = backbone.eval().fuse().requires_grad_(False)
    return backbone.to(dtype).to(memory_format=torch.channels_last)
