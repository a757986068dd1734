"""The Triton kernel of gather_rotate: one program a block of kept keys of one row."""
import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 16   # keys a program


@triton.jit
def _gather_rotate(
    p_raw, p_index, p_cos, p_sin, p_kept, p_turned, T, K, each,
    D: tl.constexpr, BD: tl.constexpr, BK: tl.constexpr,
):
    row, group = tl.program_id(0).to(tl.int64), tl.program_id(0) // each
    i_k = tl.program_id(1) * BK + tl.arange(0, BK)
    i_d = tl.arange(0, BD)
    m_k = i_k < K
    m = m_k[:, None] & (i_d < D)[None]
    HALF: tl.constexpr = D // 2
    i_pair = tl.where(i_d < HALF, i_d + HALF, i_d - HALF)
    sign = tl.where(i_d < HALF, -1.0, 1.0)
    place = tl.load(p_index + group * K + i_k, mask=m_k, other=0)                      # [BK]
    o_raw = p_raw + (row * T + place)[:, None] * D
    o_turn = (group * K + i_k)[:, None] * D + i_d[None]
    b_x = tl.load(o_raw + i_d[None], mask=m, other=0.0)                                # [BK, BD]
    b_pair = tl.load(o_raw + i_pair[None], mask=m, other=0.0).to(tl.float32)
    b_cos = tl.load(p_cos + o_turn, mask=m, other=0.0)
    b_sin = tl.load(p_sin + o_turn, mask=m, other=0.0)
    b_turned = b_x.to(tl.float32) * b_cos + sign[None] * b_pair * b_sin
    o_out = (row * K + i_k)[:, None] * D + i_d[None]
    tl.store(p_kept + o_out, b_x, mask=m)
    tl.store(p_turned + o_out, b_turned.to(p_turned.dtype.element_ty), mask=m)


def gather_rotate_triton(
    raw: Tensor, index: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor]:
    raw, index, cos, sin = (x.contiguous() for x in (raw, index, cos, sin))
    (R, T, D), K = raw.shape, index.shape[1]
    kept, turned = (torch.empty(R, K, D, dtype=raw.dtype, device=raw.device) for _ in range(2))
    if K:
        _gather_rotate[(R, triton.cdiv(K, BLOCK))](
            raw, index, cos, sin, kept, turned, T, K, R // len(index),
            D=D, BD=triton.next_power_of_2(D), BK=BLOCK,
        )
    return kept, turned
