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
def _attend(
    p_q, p_kc, p_ks, p_kl, p_vc, p_vs, p_vl, p_o, p_lse, scale, T, heads_each, groups_each, PARTS,
    G: tl.constexpr, D: tl.constexpr, BJ: tl.constexpr, BITS: tl.constexpr,
):
    head, part = tl.program_id(0), tl.program_id(1)
    row = (head // heads_each).to(tl.int64)
    J: tl.constexpr = D // 4
    MASK: tl.constexpr = 2**BITS - 1
    i_t, i_j = tl.arange(0, G), tl.arange(0, BJ)
    m_j = i_j < J
    o_q = p_q + head.to(tl.int64) * D + i_j
    q_0 = tl.load(o_q, mask=m_j, other=0.0).to(tl.float32) * scale                      # [BJ]
    q_1 = tl.load(o_q + J, mask=m_j, other=0.0).to(tl.float32) * scale
    q_2 = tl.load(o_q + 2 * J, mask=m_j, other=0.0).to(tl.float32) * scale
    q_3 = tl.load(o_q + 3 * J, mask=m_j, other=0.0).to(tl.float32) * scale
    top, total = float("-inf"), 0.0
    a_0, a_1 = tl.zeros((BJ,), tl.float32), tl.zeros((BJ,), tl.float32)
    a_2, a_3 = tl.zeros((BJ,), tl.float32), tl.zeros((BJ,), tl.float32)
    for group in range(part * groups_each, tl.minimum((part + 1) * groups_each, T // G)):
        o_t = row * T + group * G + i_t                                                 # [G]
        words = tl.load(p_kc + o_t[:, None] * J + i_j[None], mask=m_j[None], other=0).to(tl.int32)
        o_s = (row * (T // G) + group) * D + i_j
        scores = tl.zeros((G,), tl.float32)
        for quarter in tl.static_range(4):
            q = q_0 if quarter == 0 else q_1 if quarter == 1 else q_2 if quarter == 2 else q_3
            step = tl.load(p_ks + o_s + quarter * J, mask=m_j, other=0.0).to(tl.float32)
            low = tl.load(p_kl + o_s + quarter * J, mask=m_j, other=0.0).to(tl.float32)
            code = ((words >> (quarter * BITS)) & MASK).to(tl.float32)                  # [G, BJ]
            scores += tl.sum(code * (q * step)[None], 1) + tl.sum(q * low)
        new_top = tl.maximum(top, tl.max(scores))
        shrink, p = tl.exp(top - new_top), tl.exp(scores - new_top)                     # [G]
        total, top = total * shrink + tl.sum(p), new_top
        words = tl.load(p_vc + o_t[:, None] * J + i_j[None], mask=m_j[None], other=0).to(tl.int32)
        for quarter in tl.static_range(4):
            step = tl.load(p_vs + o_t * 4 + quarter).to(tl.float32)                     # [G]
            low = tl.load(p_vl + o_t * 4 + quarter).to(tl.float32)
            code = ((words >> (quarter * BITS)) & MASK).to(tl.float32)
            gain = tl.sum((p * step)[:, None] * code, 0) + tl.sum(p * low)              # [BJ]
            if quarter == 0:
                a_0 = a_0 * shrink + gain
            elif quarter == 1:
                a_1 = a_1 * shrink + gain
            elif quarter == 2:
                a_2 = a_2 * shrink + gain
            else:
                a_3 = a_3 * shrink + gain
    o_out = (head.to(tl.int64) * PARTS + part)
    p_out = p_o + o_out * D + i_j
    tl.store(p_out, a_0 / total, mask=m_j)
    tl.store(p_out + J, a_1 / total, mask=m_j)
    tl.store(p_out + 2 * J, a_2 / total, mask=m_j)
    tl.store(p_out + 3 * J, a_3 / total, mask=m_j)
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
