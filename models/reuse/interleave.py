"""Interleave: after each frame that is encoded whole, a few of which only what moved most is.

After ResidualViT, arXiv 2509.13255, without its residual token, which is trained; the paper has
that as a variant.
"""
from dataclasses import dataclass, field

from torch import Tensor

from models.reuse.tower import Rows, Site
from models.reuse.vit import KeyFrames, fixed_count, most, moved
from streamassist.reuse import check_setting


@dataclass
class Interleave(KeyFrames):
    """Of `between` frames after each whole one, the share `drop` of tokens that moved least is left
    out; the rest goes through the tower alone, as a short sequence, in its own places and windows.

    Our inference: the tokens left out take the last whole frame's output at their place, so that
    the language model reads a full grid; movement is the mean change of a patch's pixels since that
    frame; and what did not move by more than `threshold` is never encoded, even where fewer moved
    than there is room for, since alone it would come out worse than what is there.
    """

    between: int = 2         # frames; 0: every frame whole
    drop: float = 0.85       # share of the tokens
    threshold: float = 0.0   # mean change of a patch, 0..1

    count: int = field(default=0, init=False)   # frames so far

    def __post_init__(self) -> None:
        check_setting(self, "between", 0, 1000)
        check_setting(self, "drop", 0, 1)
        check_setting(self, "threshold", 0, 1)

    def choose(self, patches: Tensor) -> Rows:
        if self.count % (self.between + 1) == 0:
            return None
        change = moved(patches, self.key)
        rows = most(change, fixed_count(1 - self.drop, len(patches)))
        return rows[change[rows] > self.threshold]

    def begin(self, patches: Tensor) -> None:
        super().begin(patches)
        self.count += 1

    def context(self, site: Site, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Rows]:
        return k, v, self.rows
