"""nano with a tiny random text model: the real adapter, backbone shape and projector, no files."""
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from models.nano.adapter import Nano, make_projector, merge_lora
from models.nano.backbone import EfficientNetLite0
from models.nano.network import LORA_RANK, Projector, lora_sites
from streamassist.cache import KVCache
from streamassist.types import Chunk, Frame, Role
from tests.tiny_models import tokenizer

DIM = 96


def text_model() -> LlamaForCausalLM:
    """Four layers, six heads in two groups, lively random weights."""
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=DIM,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
    )
    model, draw = LlamaForCausalLM(config).eval(), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            scale = 0.7 / parameter.shape[-1] ** 0.5
            parameter.data = torch.randn(parameter.shape, generator=draw) * scale
    return model


def random_state(model: LlamaForCausalLM, seed: int = 2) -> dict[str, Tensor]:
    """Projector and LoRA tensors with the names and shapes that training exports."""
    draw = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw) * 0.05

    projector = Projector(model.config.hidden_size).state_dict()
    state = {f"projector.{k}": v + some(*v.shape) for k, v in projector.items()}
    for layer, parent, name in lora_sites(model):
        linear = getattr(parent, name)
        state[f"lora.{layer}.{name}.a"] = some(LORA_RANK, linear.in_features)
        state[f"lora.{layer}.{name}.b"] = some(linear.out_features, LORA_RANK)
    return state


def build() -> tuple[Nano, LlamaForCausalLM]:
    """The adapter, and a stock copy of its text model with the same merged weights."""
    torch.manual_seed(3)
    model = text_model()
    state = random_state(model)
    merge_lora(model, state)
    stock = deepcopy(model)
    nano = Nano(model, tokenizer("qwen"), lively_backbone(), make_projector(state, DIM))
    return nano, stock


def lively_backbone() -> EfficientNetLite0:
    """Random weights that keep the scale from layer to layer, so that pictures stay apart."""
    backbone = EfficientNetLite0().eval()
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return backbone.fuse().requires_grad_(False)


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def frames(count: int) -> list[Frame]:
    return [Frame(picture(i), pts=i / 2, index=i) for i in range(count)]


class Recorder:
    """Feeds chunks to an adapter and remembers what a stock model needs for the same sequence."""

    def __init__(self, nano: Nano):
        self.nano, self.cache = nano, nano.new_cache()
        self.embeds: list[Tensor] = []
        self.positions: list[Tensor] = []
        self.ends: list[int] = []
        self.logits: list[Tensor] = []

    def feed(self, chunk: Chunk) -> Tensor:
        self.embeds.append(self.nano.inputs(chunk)["inputs_embeds"][0].detach())
        self.positions.append(chunk.positions[0])
        self.ends.append(sum(map(len, self.embeds)) - 1)
        self.logits.append(self.nano.forward(chunk, self.cache))
        return self.logits[-1]

    def text(self, ids: list[int], role: Role = Role.TEXT) -> Tensor:
        return self.feed(self.nano.text_chunk(ids, self.cache.next_position, role, 0.0))

    def frame(self, frame: Frame) -> Tensor:
        (tokens,) = self.nano.encode([frame])
        return self.feed(self.nano.frame_chunk(tokens, self.cache.next_position))

    def one_shot(self, stock: LlamaForCausalLM, mask: Tensor | None = None) -> Tensor:
        """Stock logits (number of chunks, V) where each chunk ends; mask (S, S), True = may look.

        The mask is always given: without one, a jump in the positions reads as two packed texts.
        """
        size = self.ends[-1] + 1
        mask = torch.ones(size, size, dtype=torch.bool).tril() if mask is None else mask
        with torch.no_grad():
            logits = stock(
                inputs_embeds=torch.cat(self.embeds)[None],
                position_ids=torch.cat(self.positions)[None],
                attention_mask=mask[None, None],
                use_cache=False,
            ).logits[0]
        return logits[self.ends]


def same_cache(a: KVCache, b: KVCache) -> None:
    """Assert that two caches hold the same slots, keys, values and facts."""
    assert (a.size, a.num_pinned, a.next_position) == (b.size, b.num_pinned, b.next_position)
    for name in ("raw", "rotated", "value"):
        mine, theirs = (getattr(c, name)[:, :, : c.size] for c in (a, b))
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    for mine, theirs in zip(a.used().fields()[:4], b.used().fields()[:4], strict=True):
        assert torch.equal(mine, theirs)
