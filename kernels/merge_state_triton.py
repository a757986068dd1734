"""The Triton kernel of merge_state: one program a row of one head."""
import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _merge(p_oa, p_la, p_ob, p_lb, p_o, p_l, D: tl.constexpr, BD: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i_d = tl.arange(0, BD)
    m_d = i_d < D
    l_a, l_b = tl.load(p_la + row), tl.load(p_lb + row)
    top = tl.maximum(l_a, l_b)
    w_a, w_b = tl.exp(l_a - top), tl.exp(l_b - top)
    # an empty side may hold anything, NaN included: it is not loaded
    m_a, m_b = m_d & (i_d * 0.0 + w_a > 0.0), m_d & (i_d * 0.0 + w_b > 0.0)
    b_a = tl.load(p_oa + row * D + i_d, mask=m_a, other=0.0).to(tl.float32)   # [BD]
    b_b = tl.load(p_ob + row * D + i_d, mask=m_b, other=0.0).to(tl.float32)   # [BD]
    b_o = (w_a * b_a + w_b * b_b) / (w_a + w_b)
    tl.store(p_o + row * D + i_d, b_o.to(p_o.dtype.element_ty), mask=m_d)
    tl.store(p_l + row, top + tl.log(w_a + w_b))


def merge_state_triton(
    o_a: Tensor, lse_a: Tensor, o_b: Tensor, lse_b: Tensor
) -> tuple[Tensor, Tensor]:
    o_a, lse_a, o_b, lse_b = (x.contiguous() for x in (o_a, lse_a, o_b, lse_b))
    o, lse, D = torch.empty_like(o_a), torch.empty_like(lse_a), o_a.shape[-1]
    _merge[(lse.numel(),)](o_a, lse_a, o_b, lse_b, o, lse, D=D, BD=triton.next_power_of_2(D))
    return o, lse
