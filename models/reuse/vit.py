"""Shared by the methods for vision transformers."""
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from models.reuse.base import InsideReuse
from models.reuse.tower import Rows, Site, Tower


@dataclass
class ViTReuse(InsideReuse):
    """A method inside of a vision transformer: `begin`, and `step` in place of each block.

    work: share of rows recomputed. The patch embedding and the merger run on all rows and are not
    counted.
    """

    part: ClassVar[str] = "tower"
    encoder: ClassVar[str] = "a vision transformer"
    instead: ClassVar[str] = "tiles"
    inner: ClassVar[Tower]

    def inside(self) -> AbstractContextManager[None]:
        return self.inner.running(self)


@dataclass
class KeyFrames(ViTReuse):
    """A key frame is encoded whole; of the frames after it only some rows are, and the others keep
    the key frame's final state, and its state at every level that DeepStack reads.

    key: (N, 3, P) its patches in 0..1; exits: block -> (N, D) its output there; rows: those under
    way, None for all; x: (M, D) where they are.
    """

    key: Tensor | None = field(default=None, init=False)
    exits: dict[int, Tensor] = field(default_factory=dict, init=False)
    rows: Rows = field(default=None, init=False)
    x: Tensor | None = field(default=None, init=False)

    def choose(self, patches: Tensor) -> Rows:
        """Rows to recompute of a frame (N, 3, P) in 0..1; None makes it the key frame."""
        raise NotImplementedError

    def keep(self, site: Site, k: Tensor, v: Tensor) -> None:
        """A block of the key frame has made these raw keys and values (N, D)."""

    def context(self, site: Site, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Rows]:
        """What the rows under way, of which k and v (M, D) are, attend to; and its rows."""
        raise NotImplementedError

    def begin(self, patches: Tensor) -> None:
        self.rows = None if self.key is None else self.choose(patches)
        self.work = 1.0 if self.rows is None else len(self.rows) / len(patches)
        if self.rows is None:
            self.key, self.exits = patches, {}

    def step(self, site: Site, x: Tensor) -> Tensor:
        if self.rows is None:
            x, (k, v, *_) = site.whole(x)
            self.keep(site, k, v)
            if site.number in self.inner.exits:
                self.exits[site.number] = x
            return x
        self.x = x[self.rows] if site.number == 0 else self.x
        if len(self.rows):
            self.x = self._advance(site, self.x)
        if site.number in self.inner.exits:
            return self.exits[site.number].index_copy(0, self.rows, self.x)
        return x   # nobody reads it: the rows under way are in `x`

    def _advance(self, site: Site, x: Tensor) -> Tensor:
        """The rows under way through one block, (M, D) -> (M, D)."""
        layer = site.layer
        read = layer.norm1(x)
        k, v, of = self.context(site, layer.key(read), layer.value(read))
        x = x + site.attention(layer.query(read), k, v, self.rows, of)
        return x + layer.mlp(layer.norm2(x))


def moved(now: Tensor, before: Tensor) -> Tensor:
    """How far each patch moved: the mean change of its pixels, (N, 3, P) in 0..1 -> (N,)."""
    return (now - before).abs().mean((1, 2))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of each patch with the one at its place, (N, 3, P) in 0..1 -> (N,).

    Wang et al. 2004, with the patch as the window and its usual constants; mean over the colours.
    """
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = a.mean(-1), b.mean(-1)
    var_a, var_b = a.var(-1, correction=0), b.var(-1, correction=0)
    both = ((a - mean_a[..., None]) * (b - mean_b[..., None])).mean(-1)
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (light * (2 * both + c2) / (var_a + var_b + c2)).mean(1)


def fixed_count(share: float, total: int) -> int:
    """Rows that a share is, the same for every frame of a size; one at least."""
    return max(1, min(total, int(share * total + 1e-9)))


def most(scores: Tensor, count: int) -> Tensor:
    """The rows with the highest scores (N,), in ascending order."""
    return torch.topk(scores, count).indices.sort().values
