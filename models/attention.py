"""Attention over a KVCache: keys come from the cache rotated, the query is rotated here.

transformers' own rotary embedding is replaced by an identity, so queries and keys leave its code
raw; the cache rotates each key at the position of its slot. What one forward pass needs (the
query's angles, the mask) stands in one `Pass` per loaded model, which its attention modules share.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.utils import is_flash_attn_2_available

from streamassist.errors import StreamAssistError
from streamassist.rope import rotate

NAME = "streamassist"


@dataclass(slots=True)
class Pass:
    """The forward pass under way.

    cos, sin: (S, D) of the query rows; mask: (1, 1, groups * S, T) added to the scores, -inf where
    a row may not look, None for a single row, which sees everything; flash: use the flash-attn
    package; queries: takes each layer's raw query (Hq, S, D) where a list was put here; branches:
    lengths of the branches that the rows consist of, none of which sees another.
    """

    flash: bool = False
    groups: int = 1
    cos: Tensor | None = None
    sin: Tensor | None = None
    mask: Tensor | None = None
    queries: list[Tensor] | None = None
    branches: Sequence[int] = ()

    def begin(self, cos: Tensor, sin: Tensor, past: int, dtype: torch.dtype) -> None:
        """Set up for S new rows behind `past` slots: all of the past, causal among themselves."""
        count = cos.shape[0]
        if count > 1 and (self.branches or not self.flash):
            where = torch.arange(past, past + count, device=cos.device)
            self.fix(cos, sin, where, past + count, dtype)
        else:
            self.cos, self.sin, self.mask = cos, sin, None

    def fix(
        self, cos: Tensor, sin: Tensor, where: Tensor, slots: int, dtype: torch.dtype
    ) -> None:
        """Set up for rows written to the places `where` (S,) of a cache of which `slots` are
        given: each sees the slots up to its own. The mask is added to the scores, so that no layer
        has to turn it into numbers."""
        hidden = torch.arange(slots, device=where.device)[None] > where[:, None]
        if self.branches:
            owner = torch.arange(len(self.branches)).repeat_interleave(
                torch.tensor(self.branches)
            ).to(where.device)
            hidden[:, slots - len(owner):] |= owner[:, None] != owner
        mask = torch.zeros(hidden.shape, dtype=dtype, device=where.device)
        mask = mask.masked_fill(hidden, -torch.inf).repeat(self.groups, 1)
        self.cos, self.sin, self.mask = cos, sin, mask[None, None]


class IdentityRotary(nn.Module):
    """Stands in for a text model's rotary embedding: cos 1, sin 0 of shape (1, S, D)."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.head_dim = head_dim

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, position_ids.shape[-1], self.head_dim)
        return x.new_ones(shape), x.new_zeros(shape)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: None, scaling: float, **_
) -> tuple[Tensor, None]:
    """query (1, H, S, D) raw; key, value (1, KV, T, D) -> (1, S, H, D).

    The query heads of a group are folded into its rows: no key is repeated, and the kernel for
    equal head counts runs, which on a CPU is several times faster than `enable_gqa`.
    """
    now: Pass = module.streamassist_pass
    if now.queries is not None:
        now.queries.append(query[0].clone())
    query = rotate(query, now.cos, now.sin)
    if now.flash and now.mask is None:   # flash-attn takes no mask
        return _flash(query, key, value, scaling), None
    _, heads, rows, dim = query.shape
    folded = query.reshape(1, key.shape[1], -1, dim)
    out = F.scaled_dot_product_attention(folded, key, value, attn_mask=now.mask, scale=scaling)
    return out.reshape(1, heads, rows, dim).transpose(1, 2).contiguous(), None


def _flash(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """flash-attn aligns its causal mask to the last key, which is the mask of `Pass.begin`."""
    from flash_attn import flash_attn_func

    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return flash_attn_func(query, key, value, softmax_scale=scaling, causal=True)


def _no_mask(*_, **__) -> None:
    """`Pass` holds the mask; transformers must not build one of its own."""


def install(model: PreTrainedModel, flash: bool = False) -> Pass:
    """Make the text part of `model` attend through a KVCache; a vision tower keeps its own way."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _no_mask)
    vision = {"vision_config": "sdpa"} if hasattr(model.config, "vision_config") else {}
    model.set_attn_implementation({"text_config": NAME, **vision} if vision else NAME)
    decoder = model.get_decoder()
    attentions = [layer.self_attn for layer in decoder.layers]
    now = Pass(flash=flash, groups=attentions[0].num_key_value_groups)
    decoder.rotary_emb = IdentityRotary(attentions[0].head_dim)
    for attention in attentions:
        attention.streamassist_pass = now
    return now


def choose_flash(wish: str, device: torch.device) -> bool:
    """Whether to use flash-attn; raises StreamAssistError when it is asked for and cannot run."""
    available = device.type == "cuda" and is_flash_attn_2_available()
    if wish == "flash_attention_2" and not available:
        raise StreamAssistError(
            "flash_attention_2 needs an NVIDIA GPU and the package flash-attn "
            "(pip install --no-build-isolation flash-attn==2.8.3.post2); use --attention sdpa."
        )
    return available and wish != "sdpa"
