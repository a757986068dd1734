"""STC's cacher: between reference frames, only the tokens whose keys changed most are recomputed.

Wang et al. 2025, arXiv 2512.00891; the released code (lern-to-write/STC) was read.
"""
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from models.reuse.tower import Parts, Site
from models.reuse.vit import ViTReuse, fixed_count, most
from streamassist.reuse import check_setting


@dataclass
class STCCacher(ViTReuse):
    """Every `interval`-th frame is a reference: it is encoded whole, and each block's raw keys,
    values, attention output and MLP output are kept (for Qwen2.5-VL at 448 x 448: 335 MB in 16
    bits).

    Of another frame a block makes the keys of all tokens, compares them with the reference's, and
    makes queries, values, attention and MLP only for the `share` least similar; the other tokens
    take the reference's outputs. As in the released code (the paper's text differs), keys are fresh
    everywhere, and what was recomputed does not become part of the reference.
    Our inference: where a block attends in windows (the paper's tower has none), the tokens least
    similar in the whole frame are taken, for still windows need none; each attends to the keys and
    mixed values of its own window.
    """

    interval: int = 2      # frames from one reference to the next; 1: every frame is one
    share: float = 0.25    # of the tokens of other frames, recomputed

    count: int = field(default=0, init=False)                      # frames so far
    reference: bool = field(default=True, init=False)              # whether this frame is one
    kept: list[Parts] = field(default_factory=list, init=False)    # of each block

    def __post_init__(self) -> None:
        check_setting(self, "interval", 1, 1000)
        check_setting(self, "share", 0, 1)

    def begin(self, patches: Tensor) -> None:
        self.reference = self.count % self.interval == 0
        self.count += 1
        if self.reference:
            self.kept = []
        rows = fixed_count(self.share, len(patches))
        self.work = 1.0 if self.reference else rows / len(patches)

    def step(self, site: Site, x: Tensor) -> Tensor:
        if self.reference:
            x, parts = site.whole(x)
            self.kept.append(parts)
            return x
        layer, (old_k, old_v, old_read, old_thought) = site.layer, self.kept[site.number]
        normed = layer.norm1(x)
        k = layer.key(normed)
        rows = most(-F.cosine_similarity(k.float(), old_k.float()), fixed_count(self.share, len(k)))
        v = old_v.index_copy(0, rows, layer.value(normed[rows]))
        read = site.attention(layer.query(normed[rows]), k, v, rows)
        x = x + old_read.index_copy(0, rows, read)
        thought = layer.mlp(layer.norm2(x[rows]))
        return x + old_thought.index_copy(0, rows, thought)
