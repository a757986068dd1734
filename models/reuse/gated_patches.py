"""Gated residual patches: only what moved since the key frame is encoded anew.

After Gated Residual Tokenization, stage 1, arXiv 2509.14199.
"""
from dataclasses import dataclass, field

from torch import Tensor

from models.reuse.tower import Rows, Site
from models.reuse.vit import KeyFrames, ssim
from streamassist.reuse import check_setting


@dataclass
class GatedPatches(KeyFrames):
    """A patch moved when its SSIM with the key frame is below `threshold`.

    The paper gates the patch embedding only, which is hardly any of a tower's time. Our inference:
    the gate acts in every block. Patches that moved attend to their own new keys and values and
    the key frame's at all other places; the others keep the key frame's final state. A threshold
    of 0.9 (the paper gives none), and a new key frame when more than `most` moved, for scattered
    rows then save little, or after `most_s` seconds, so that what slowly changes is seen.
    """

    threshold: float = 0.9   # SSIM; 0: nothing ever moves, 1: all that differs
    most: float = 0.5        # share of patches
    most_s: float = 10.0     # stream time

    key_pts: float = field(default=0.0, init=False)                               # seconds
    kept: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False)   # k, v of blocks

    def __post_init__(self) -> None:
        check_setting(self, "threshold", 0, 1)
        check_setting(self, "most", 0, 1)
        check_setting(self, "most_s", 0, 3600)

    def choose(self, patches: Tensor) -> Rows:
        if self.pts - self.key_pts >= self.most_s:
            return None
        rows = (ssim(patches, self.key) < self.threshold).nonzero()[:, 0]
        return None if len(rows) > self.most * len(patches) else rows

    def begin(self, patches: Tensor) -> None:
        super().begin(patches)
        if self.rows is None:
            self.key_pts, self.kept = self.pts, []

    def keep(self, site: Site, k: Tensor, v: Tensor) -> None:
        self.kept.append((k, v))

    def context(self, site: Site, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Rows]:
        old_k, old_v = self.kept[site.number]
        return old_k.index_copy(0, self.rows, k), old_v.index_copy(0, self.rows, v), None
