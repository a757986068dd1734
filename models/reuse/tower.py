"""A vision transformer taken apart: its blocks in pieces that also work on some of the rows.

The tower's own forward keeps everything around the blocks (patches, positions, windows, DeepStack,
merger); `Tower.running` only puts a method's `step` in place of each block, for one frame.
"""
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reuse.base import standing_in
from streamassist.rope import rotate

Rows = Tensor | None                  # (M,) int64, numbers of rows in ascending order; None: all
Linear = Callable[[Tensor], Tensor]   # (N, A) -> (N, B)
Parts = tuple[Tensor, Tensor, Tensor, Tensor]   # raw keys, values, attention's and MLP's output


@dataclass(frozen=True)
class Layer:
    """One block: x + attention(norm1(x)), then x + mlp(norm2(x)), on rows (N, D) of one frame."""

    module: nn.Module
    heads: int
    norm1: Linear
    query: Linear
    key: Linear
    value: Linear
    out: Linear
    norm2: Linear
    mlp: Linear


@dataclass(frozen=True)
class Site:
    """A block at work on a frame of N rows.

    bounds: (W + 1,) where the windows begin within which it attends, None for one window;
    cos, sin: (N, head_dim) of the rotary embedding, None for a tower without one.
    """

    number: int
    layer: Layer
    bounds: Tensor | None = None
    cos: Tensor | None = None
    sin: Tensor | None = None

    def attention(self, q: Tensor, k: Tensor, v: Tensor, at: Rows = None, of: Rows = None
                  ) -> Tensor:
        """What rows `at` read off the rows `of` in their own windows.

        q (M, D) and k, v (K, D) as projected, not rotated -> (M, D).
        """
        q, k, v = self._heads(q, at), self._heads(k, of), self._heads(v, None, turn=False)
        if self.bounds is None:
            seen = F.scaled_dot_product_attention(q, k, v)
        elif at is None and of is None:
            sizes = self.bounds.diff().tolist()
            parts = zip(*(x.split(sizes, 2) for x in (q, k, v)), strict=True)
            seen = torch.cat([F.scaled_dot_product_attention(*part) for part in parts], 2)
        else:
            mask = self._window(at)[:, None] == self._window(of)[None]
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.layer.out(seen[0].transpose(0, 1).flatten(1))

    def _heads(self, x: Tensor, rows: Rows, turn: bool = True) -> Tensor:
        """(M, D) -> (1, heads, M, head_dim), rotated to the places of its rows."""
        x = x.unflatten(1, (self.layer.heads, -1)).transpose(0, 1)
        if turn and self.cos is not None:
            cos, sin = (a.float() if rows is None else a[rows].float() for a in
                        (self.cos, self.sin))
            x = rotate(x, cos, sin)
        return x[None]

    def _window(self, rows: Rows) -> Tensor:
        """Which window each row is in."""
        every = torch.arange(int(self.bounds[-1]), device=self.bounds.device)
        return torch.bucketize(every if rows is None else rows, self.bounds, right=True)

    def whole(self, x: Tensor) -> tuple[Tensor, Parts]:
        """All rows x (N, D) -> the block's output and its parts, each (N, D)."""
        layer = self.layer
        rows = layer.norm1(x)
        k, v = layer.key(rows), layer.value(rows)
        read = self.attention(layer.query(rows), k, v)
        x = x + read
        thought = layer.mlp(layer.norm2(x))
        return x + thought, (k, v, read, thought)


class Steps(Protocol):
    """What a method does inside of a tower."""

    def begin(self, patches: Tensor) -> None:
        """A frame comes: its patches (N, 3, P) in 0..1, in the order of the tower's rows."""

    def step(self, site: Site, x: Tensor) -> Tensor:
        """In place of a block; x and the result (N, D)."""


@dataclass(frozen=True)
class Tower:
    """root: the module whose forward runs all blocks; exits: numbers of the blocks whose output is
    used outside of the next one, the last among them; patches: the positional and named arguments
    of `root` -> pixels as `Steps.begin` wants them. Built by `qwen_tower` and `smol_tower`."""

    root: nn.Module
    layers: tuple[Layer, ...]
    exits: frozenset[int]
    patches: Callable[..., Tensor]

    @contextmanager
    def running(self, steps: Steps) -> Iterator[None]:
        """The tower with `steps` in place of its blocks; it must be fed one frame at a time."""
        def begin(_: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            steps.begin(self.patches(*given, **named))

        hook = self.root.register_forward_pre_hook(begin, with_kwargs=True)
        forwards = {
            layer.module: partial(_run, steps, i, layer) for i, layer in enumerate(self.layers)
        }
        try:
            with standing_in(forwards):
                yield
        finally:
            hook.remove()


def _run(
    steps: Steps, number: int, layer: Layer, hidden_states: Tensor, _mask: Tensor | None = None, *,
    cu_seqlens: Tensor | None = None,
    position_embeddings: tuple[Tensor | None, Tensor | None] = (None, None), **__: Any,
) -> Tensor:
    """Has the arguments of both families' blocks; no row of a single frame is ever masked."""
    bounds = None if cu_seqlens is None or len(cu_seqlens) == 2 else cu_seqlens
    site = Site(number, layer, bounds, *position_embeddings)
    rows = hidden_states.reshape(-1, hidden_states.shape[-1])
    return steps.step(site, rows).view_as(hidden_states)
