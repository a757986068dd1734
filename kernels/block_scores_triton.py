"""The Triton kernel of block_scores: one program a block of one head."""
import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _block_scores(
    p_query, p_keys, p_scores, T, P, SIZE: tl.constexpr, BT: tl.constexpr,
    D: tl.constexpr, BD: tl.constexpr, BOUND: tl.constexpr,
):
    head, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i_t = tl.arange(0, BT)
    i_d = tl.arange(0, BD)
    place = block * SIZE + i_t
    m_t = (i_t < SIZE) & (place < T)
    m_d = i_d < D
    m = m_t[:, None] & m_d[None]
    b_q = tl.load(p_query + head * D + i_d, mask=m_d, other=0.0).to(tl.float32)        # [BD]
    b_k = tl.load(p_keys + (head * T + place)[:, None] * D + i_d[None], mask=m, other=0.0)
    b_k = b_k.to(tl.float32)                                                            # [BT, BD]
    if BOUND:
        low = tl.min(tl.where(m_t[:, None], b_k, float("inf")), 0)
        high = tl.max(tl.where(m_t[:, None], b_k, float("-inf")), 0)
        score = tl.sum(tl.where(m_d, tl.maximum(b_q * low, b_q * high), 0.0))
    else:
        count = tl.sum(m_t.to(tl.float32))
        score = tl.sum(b_q * tl.sum(b_k, 0) / count)
    tl.store(p_scores + head * P + block, score)


def block_scores_triton(query: Tensor, keys: Tensor, size: int, by: str = "mean") -> Tensor:
    query, keys = query.contiguous(), keys.contiguous()
    H, T, D = keys.shape
    P = triton.cdiv(T, size)
    scores = torch.empty(H, P, dtype=torch.float32, device=keys.device)
    if P:
        _block_scores[(H, P)](
            query, keys, scores, T, P, SIZE=size, BT=triton.next_power_of_2(size),
            D=D, BD=triton.next_power_of_2(D), BOUND=by == "bound",
        )
    return scores
