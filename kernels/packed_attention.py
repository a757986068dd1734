"""packed_attention: one token's attention over packed keys and values, which stay packed.

query: (Hq, D), rotated as the keys are; keys, values: `kv_pack.PackedKV` of Hk heads, Hq a multiple
of Hk; the softmax scale is 1 / sqrt(D). Returns (o (Hq, D) in the query's type, lse (Hq,) float32),
which `merge_state` joins with the attention over the tokens that are not packed yet. A key's scale
is folded into the query, a value's into its probability: no copy in full precision is made.
"""
import torch
from torch import Tensor

from kernels.dispatch import use_triton
from kernels.kv_pack import PackedKV, unpack


def packed_attention_ref(query: Tensor, keys: PackedKV, values: PackedKV) -> tuple[Tensor, Tensor]:
    k, v = unpack(keys, values=False), unpack(values, values=True)
    q = query.float().unflatten(0, (len(k), -1)) * query.shape[-1] ** -0.5
    scores = torch.einsum("hgd,htd->hgt", q, k)
    o = torch.einsum("hgt,htd->hgd", scores.softmax(-1), v)
    return o.flatten(0, 1).to(query.dtype), scores.logsumexp(-1).flatten()


def packed_attention(query: Tensor, keys: PackedKV, values: PackedKV) -> tuple[Tensor, Tensor]:
    if not use_triton(query):
        return packed_attention_ref(query, keys, values)
    from kernels.packed_attention_triton import packed_attention_triton

    return packed_attention_triton(query, keys, values)
