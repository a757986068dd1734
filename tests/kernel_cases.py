"""Inputs of awkward sizes for every kernel, the reference's answer, and how far a kernel is off.

Run as a script with TRITON_INTERPRET=1 it judges those named on the CPU and prints a line of JSON
each. What a kernel allocates is filled with NaN first, so that what it forgets to write shows.
"""
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from kernels.block_scores import block_scores_ref
from kernels.gather_rotate import gather_rotate_ref
from kernels.kv_pack import GROUP, PackedKV, pack_ref
from kernels.merge_state import merge_state_ref
from kernels.packed_attention import packed_attention_ref
from kernels.token_similarity import token_similarity_ref

FLOAT, HALF = torch.float32, torch.float16
TOLERANCE = {FLOAT: 2e-5, HALF: 2e-3, torch.bfloat16: 1e-2}   # of the root mean square


def randn(*shape: int, dtype: torch.dtype = FLOAT, device: str = "cpu") -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(device, dtype)


def merge_state(device: str, tokens: int, heads: int, dim: int, dtype: torch.dtype):
    o_a, o_b = randn(tokens, heads, dim, dtype=dtype), randn(tokens, heads, dim, dtype=dtype) + 1
    lse_a, lse_b = randn(tokens, heads) * 5, randn(tokens, heads) * 5 + 1
    lse_a[0, 0], lse_b[-1, -1] = -torch.inf, -torch.inf
    o_a[0, 0], o_b[-1, -1] = torch.nan, torch.nan   # an empty side may hold anything
    return merge_state_ref, [x.to(device) for x in (o_a, lse_a, o_b, lse_b)]


def gather_rotate(device: str, rows: int, tokens: int, kept: int, groups: int, dim: int,
                  dtype: torch.dtype):
    dice = torch.Generator().manual_seed(0)
    index = torch.stack([
        torch.randperm(tokens, generator=dice)[:kept].sort().values for _ in range(groups)
    ])
    angle = randn(groups, kept, dim // 2).repeat(1, 1, 2) * 100
    raw = randn(rows, tokens, dim, dtype=dtype)
    return gather_rotate_ref, [x.to(device) for x in (raw, index, angle.cos(), angle.sin())]


def block_scores(device: str, heads: int, tokens: int, size: int, dim: int, by: str,
                 dtype: torch.dtype):
    query, keys = randn(heads, dim, dtype=dtype), randn(heads, tokens, dim, dtype=dtype)
    return block_scores_ref, [query.to(device), keys.to(device), size, by]


def token_similarity(device: str, grids: int, rows: int, columns: int, dim: int, reach: int,
                     dtype: torch.dtype):
    now = randn(grids * rows * columns, dim, dtype=dtype)
    before = now.roll(1, 0) + 0.3 * randn(len(now), dim, dtype=dtype)
    now[0] = 0
    return token_similarity_ref, [now.to(device), before.to(device), rows, columns, reach]


def kv_pack(device: str, heads: int, tokens: int, dim: int, bits: int, values: bool,
            dtype: torch.dtype):
    x = randn(heads, tokens, dim, dtype=dtype) * 3 + 1
    x[0, :GROUP, 0] = 0.5                          # a channel that does not move
    x[-1] = (2 * x[-1]).round().clamp(-3, 3)       # many lie halfway between two codes
    return pack_ref, [x.to(device), bits, values]


def packed_attention(device: str, heads: int, each: int, tokens: int, dim: int, bits: int,
                     dtype: torch.dtype):
    key, value = randn(heads, tokens, dim), randn(heads, tokens, dim) - 2
    keys, values = pack_ref(key.to(device), bits, False), pack_ref(value.to(device), bits, True)
    query = randn(heads * each, dim, dtype=dtype).to(device) * 3
    return packed_attention_ref, [query, keys, values]


CASES: dict[str, list[tuple[Any, ...]]] = {
    "merge_state": [(1, 2, 64, FLOAT), (5, 3, 80, FLOAT), (7, 1, 33, HALF)],
    "gather_rotate": [(6, 37, 20, 1, 64, FLOAT), (6, 37, 17, 3, 80, FLOAT), (4, 9, 1, 2, 64, HALF)],
    "block_scores": [(3, 50, 16, 64, "mean", FLOAT), (3, 50, 16, 64, "bound", FLOAT),
                     (2, 13, 5, 80, "bound", FLOAT), (2, 7, 9, 40, "mean", HALF)],
    "token_similarity": [(1, 4, 4, 96, 1, FLOAT), (2, 3, 5, 33, 1, FLOAT), (1, 3, 2, 64, 0, HALF),
                         (1, 1, 3, 20, 2, FLOAT)],
    "kv_pack": [(2, 64, 64, 4, False, FLOAT), (2, 64, 64, 4, True, FLOAT),
                (3, 32, 80, 2, False, FLOAT), (3, 32, 80, 2, True, HALF)],
    "packed_attention": [(2, 3, 96, 64, 4, FLOAT), (1, 1, 32, 80, 2, FLOAT),
                         (2, 2, 1184, 32, 4, FLOAT), (2, 3, 64, 64, 2, HALF)],
}
MODULES = {"kv_pack": ("kv_pack_triton", "pack_triton")}
MAKE: dict[str, Callable] = {
    "merge_state": merge_state, "gather_rotate": gather_rotate, "block_scores": block_scores,
    "token_similarity": token_similarity, "kv_pack": kv_pack,
    "packed_attention": packed_attention,
}


@contextmanager
def filled_with_nan() -> Iterator[None]:
    """What torch.empty gives is NaN, or the least number of an integer type."""
    plain = torch.empty, torch.empty_like

    def fill(x: Tensor) -> Tensor:
        return x.fill_(torch.nan if x.is_floating_point() else torch.iinfo(x.dtype).min)

    torch.empty = lambda *a, **k: fill(plain[0](*a, **k))
    torch.empty_like = lambda *a, **k: fill(plain[1](*a, **k))
    try:
        yield
    finally:
        torch.empty, torch.empty_like = plain


def parts_of(result: Any) -> list[Tensor]:
    if isinstance(result, PackedKV):
        return [result.codes, result.step, result.low]
    return [result] if isinstance(result, Tensor) else list(result)


def error_of(name: str, case: tuple[Any, ...], device: str) -> float:
    """The worst root mean square of the difference over that of the reference; NaN counts as 1."""
    reference, inputs = MAKE[name](device, *case)
    module, function = MODULES.get(name, (f"{name}_triton", f"{name}_triton"))
    kernel = getattr(importlib.import_module(f"kernels.{module}"), function)
    wanted = parts_of(reference(*inputs))
    with filled_with_nan():
        got = parts_of(kernel(*inputs))
    return max(_apart(a, b) for a, b in zip(got, wanted, strict=True))


def _apart(got: Tensor, wanted: Tensor) -> float:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return 1.0
    if not wanted.is_floating_point():   # codes on the border of two may fall either way
        return float((got != wanted).float().mean() > 0.002)
    apart = (got.float() - wanted.float()).square().mean() / wanted.float().square().mean()
    return float(apart.sqrt().nan_to_num(1.0))


if __name__ == "__main__":
    for kernel_name in sys.argv[1:]:
        for number, one in enumerate(CASES[kernel_name]):
            off = error_of(kernel_name, one, "cpu")
            print(json.dumps({"kernel": kernel_name, "case": number, "error": off}), flush=True)
