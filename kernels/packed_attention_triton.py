"""The Triton kernel of packed_attention: one program a part of the tokens for one query head.

The parts are joined afterwards (arXiv 2311.01282 calls it split-K decoding): with one query there
are too few heads to fill a GPU.
"""
import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.kv_pack import GROUP, PackedKV

MOST_PARTS = 32


@triton.jit
def _codes(p_codes, o_t, i_c, i_j, J: tl.constexpr, BITS: tl.constexpr):
    """The numbers in the words of these tokens: [G, 4, BJ] float32."""
    words = tl.load(p_codes + o_t[:, None] * J + i_j[None], mask=i_j[None] < J, other=0)
    return ((words.to(tl.int32)[:, None, :] >> (i_c * BITS)[None, :, None]) & 2**BITS - 1).to(
        tl.float32
    )


@triton.jit
def _attend(
    p_q, p_kc, p_ks, p_kl, p_vc, p_vs, p_vl, p_o, p_lse, scale, T, heads_each, groups_each, PARTS,
    G: tl.constexpr, D: tl.constexpr, BJ: tl.constexpr, BITS: tl.constexpr,
):
    head, part = tl.program_id(0), tl.program_id(1)
    row = (head // heads_each).to(tl.int64)
    J: tl.constexpr = D // 4
    i_t, i_c, i_j = tl.arange(0, G), tl.arange(0, 4), tl.arange(0, BJ)
    m_j = i_j[None] < J
    i_d = i_c[:, None] * J + i_j[None]                                                  # [4, BJ]
    b_q = tl.load(p_q + head.to(tl.int64) * D + i_d, mask=m_j, other=0.0).to(tl.float32) * scale
    top, total = float("-inf"), 0.0
    b_o = tl.zeros((4, BJ), tl.float32)
    for group in range(part * groups_each, tl.minimum((part + 1) * groups_each, T // G)):
        o_t = row * T + group * G + i_t                                                 # [G]
        o_s = (row * (T // G) + group) * D + i_d
        step = tl.load(p_ks + o_s, mask=m_j, other=0.0).to(tl.float32)                  # [4, BJ]
        low = tl.load(p_kl + o_s, mask=m_j, other=0.0).to(tl.float32)
        code = _codes(p_kc, o_t, i_c, i_j, J, BITS)                                     # [G, 4, BJ]
        score = tl.sum(tl.sum(code * (b_q * step)[None], 2), 1) + tl.sum(b_q * low)     # [G]
        new_top = tl.maximum(top, tl.max(score))
        shrink, p = tl.exp(top - new_top), tl.exp(score - new_top)
        total, top = total * shrink + tl.sum(p), new_top
        o_s = o_t[:, None] * 4 + i_c[None]                                              # [G, 4]
        weight = p[:, None] * tl.load(p_vs + o_s).to(tl.float32)
        floor = tl.sum(p[:, None] * tl.load(p_vl + o_s).to(tl.float32), 0)              # [4]
        code = _codes(p_vc, o_t, i_c, i_j, J, BITS)
        b_o = b_o * shrink + tl.sum(weight[:, :, None] * code, 0) + floor[:, None]
    o_out = head.to(tl.int64) * PARTS + part
    tl.store(p_o + o_out * D + i_d, b_o / total, mask=m_j)
    tl.store(p_lse + o_out, top + tl.log(total))


def packed_attention_triton(
    query: Tensor, keys: PackedKV, values: PackedKV
) -> tuple[Tensor, Tensor]:
    query, (Hk, T, J) = query.contiguous(), keys.codes.shape
    Hq, D, groups = *query.shape, T // GROUP
    each = triton.cdiv(groups, min(groups, MOST_PARTS))
    parts = triton.cdiv(groups, each)   # none is empty
    o = torch.empty(Hq, parts, D, dtype=torch.float32, device=query.device)
    lse = torch.empty(Hq, parts, dtype=torch.float32, device=query.device)
    _attend[(Hq, parts)](
        query, keys.codes, keys.step, keys.low, values.codes, values.step, values.low, o, lse,
        D**-0.5, T, Hq // Hk, each, parts,
        G=GROUP, D=D, BJ=triton.next_power_of_2(J), BITS=keys.bits,
    )
    whole = lse.logsumexp(1)
    return (o * (lse - whole[:, None]).exp()[..., None]).sum(1).to(query.dtype), whole
