"""The Triton kernel of token_similarity: one program a token."""
import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _similarity(
    p_now, p_before, p_best, ROWS: tl.constexpr, COLUMNS: tl.constexpr, REACH: tl.constexpr,
    D: tl.constexpr, BD: tl.constexpr,
):
    token = tl.program_id(0)
    cell = token % (ROWS * COLUMNS)
    row, column = cell // COLUMNS, cell % COLUMNS
    i_d = tl.arange(0, BD)
    m_d = i_d < D
    b_a = tl.load(p_now + token.to(tl.int64) * D + i_d, mask=m_d, other=0.0).to(tl.float32)
    size = tl.sqrt(tl.sum(b_a * b_a))
    best = float("-inf")
    for down in range(-REACH, REACH + 1):
        for right in range(-REACH, REACH + 1):
            inside = (row + down >= 0) & (row + down < ROWS)
            inside = inside & (column + right >= 0) & (column + right < COLUMNS)
            other = token.to(tl.int64) + down * COLUMNS + right
            b_b = tl.load(p_before + other * D + i_d, mask=m_d & inside, other=0.0).to(tl.float32)
            length = size * tl.sqrt(tl.sum(b_b * b_b))
            cosine = tl.sum(b_a * b_b) / tl.maximum(length, 1e-24)
            best = tl.where(inside, tl.maximum(best, cosine), best)
    tl.store(p_best + token, best)


def token_similarity_triton(
    now: Tensor, before: Tensor, rows: int, columns: int, reach: int = 1
) -> Tensor:
    now, before = now.contiguous(), before.contiguous()
    N, D = now.shape
    best = torch.empty(N, dtype=torch.float32, device=now.device)
    if N:
        _similarity[(N,)](now, before, best, ROWS=rows, COLUMNS=columns, REACH=reach,
                          D=D, BD=triton.next_power_of_2(D))
    return best
