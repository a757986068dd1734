"""token_similarity: what of a frame was there before, also a step aside.

now, before: (N, D) rows of two frames of the same grid of `rows` x `columns` cells, N a multiple of
rows * columns (several grids one behind the other are compared each with its own). Returns (N,)
float32: the highest cosine of each row with the rows of the frame before in the cells at most
`reach` away. reach = 0 is Differential Token Drop's comparison (arXiv 2504.17343), 1 bears a
camera that shakes a little. Rows of length 0 have cosine 0.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.dispatch import use_triton


def token_similarity_ref(
    now: Tensor, before: Tensor, rows: int, columns: int, reach: int = 1
) -> Tensor:
    a, b = (F.normalize(x.float(), dim=-1, eps=1e-12).unflatten(0, (-1, rows, columns))
            for x in (now, before))
    best = torch.full(a.shape[:3], -torch.inf, device=a.device)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            ours, theirs = _overlap(rows, down), _overlap(rows, -down)
            mine, other = _overlap(columns, right), _overlap(columns, -right)
            cosine = (a[:, ours, mine] * b[:, theirs, other]).sum(-1)
            best[:, ours, mine] = torch.maximum(best[:, ours, mine], cosine)
    return best.flatten()


def _overlap(size: int, shift: int) -> slice:
    """Cells whose neighbour `shift` further on is inside as well."""
    return slice(max(0, -shift), max(0, size - max(0, shift)))


def token_similarity(
    now: Tensor, before: Tensor, rows: int, columns: int, reach: int = 1
) -> Tensor:
    if not use_triton(now):
        return token_similarity_ref(now, before, rows, columns, reach)
    from kernels.token_similarity_triton import token_similarity_triton

    return token_similarity_triton(now, before, rows, columns, reach)
