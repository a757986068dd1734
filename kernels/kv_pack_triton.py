"""The Triton kernel of kv_pack: one program GROUP tokens of one head."""
import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.kv_pack import GROUP, QUARTERS, WORD, PackedKV


@triton.jit
def _pack(
    p_x, p_codes, p_step, p_low, T, G: tl.constexpr, D: tl.constexpr, BJ: tl.constexpr,
    BITS: tl.constexpr, VALUES: tl.constexpr,
):
    head, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    J: tl.constexpr = D // 4
    LEVELS: tl.constexpr = 2**BITS - 1
    i_t = group * G + tl.arange(0, G)
    i_j = tl.arange(0, BJ)
    m_j = i_j < J
    m = m_j[None] & (i_t[:, None] < T)
    o_row = (head * T + i_t)[:, None]
    words = tl.zeros((G, BJ), dtype=tl.int32)
    for quarter in tl.static_range(4):
        b_x = tl.load(p_x + o_row * D + quarter * J + i_j[None], mask=m, other=0.0)
        b_x = b_x.to(tl.float32)                                                       # [G, BJ]
        if VALUES:   # a group is a token's quarter
            low = tl.min(tl.where(m, b_x, float("inf")), 1)[:, None]
            high = tl.max(tl.where(m, b_x, float("-inf")), 1)[:, None]
        else:        # a group is a channel of all these tokens
            low, high = tl.min(b_x, 0)[None], tl.max(b_x, 0)[None]
        low = low.to(tl.float16)
        step = tl.maximum((high - low.to(tl.float32)) / LEVELS, 1e-7).to(tl.float16)
        exact = tl.div_rn(b_x - low.to(tl.float32), step.to(tl.float32))   # as torch divides
        code = tl.floor(exact + 0.5)
        odd = code - 2.0 * tl.floor(0.5 * code)
        code -= tl.where(code - exact == 0.5, odd, 0.0)   # halves to even
        code = tl.minimum(tl.maximum(code, 0.0), LEVELS * 1.0).to(tl.int32)
        words = words | (code << (quarter * BITS))
        if VALUES:
            o_scale = o_row * 4 + quarter
            tl.store(p_low + o_scale, low)
            tl.store(p_step + o_scale, step)
        else:
            o_scale = (head * (T // G) + group) * D + quarter * J + i_j[None]
            tl.store(p_low + o_scale, low, mask=m_j[None])
            tl.store(p_step + o_scale, step, mask=m_j[None])
    tl.store(p_codes + o_row * J + i_j[None], words.to(p_codes.dtype.element_ty), mask=m)


def pack_triton(x: Tensor, bits: int, values: bool) -> PackedKV:
    x = x.contiguous()
    H, T, D = x.shape
    shape = (H, T, QUARTERS) if values else (H, T // GROUP, D)
    codes = torch.empty(H, T, D // QUARTERS, dtype=WORD[bits], device=x.device)
    step, low = (torch.empty(shape, dtype=torch.float16, device=x.device) for _ in range(2))
    if codes.numel():
        _pack[(H, T // GROUP)](
            x, codes, step, low, T, G=GROUP, D=D, BJ=triton.next_power_of_2(D // QUARTERS),
            BITS=bits, VALUES=values,
        )
    return PackedKV(codes, step, low, bits)
