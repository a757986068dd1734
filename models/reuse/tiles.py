"""Changed tiles: of a convolutional encoder, only what a changed region reaches is run again.

The idea is that of DeltaCNN, arXiv 2203.03996; ours follows one box instead of single pixels, and
cuts its growth.
"""
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from models.nano.backbone import EfficientNetLite0, SameConv, Stage
from models.reuse.base import InsideReuse, standing_in
from streamassist.reuse import check_setting

Span = tuple[int, int]     # from, to (excluded)
Region = tuple[Span, Span]   # of rows, of columns
TILE = 32                  # pixels a side: what one place of the last map stands for
GREYS = 255 / 128          # width of the backbone's input range


@dataclass
class Tiles(InsideReuse):
    """Where no tile of 32 x 32 pixels changed by more than `threshold`, the last maps are the
    answer. Else the bounding box of the changed tiles goes through the backbone, stage by stage:
    each stage's box is what the one before it reaches, and its result is pasted into the kept map.

    A place of EfficientNet's last map depends on 851 x 851 pixels, more than there are, so exact
    boxes soon grow to the whole picture. Our inference: nearly all of that field weighs next to
    nothing, so a box grows by at most `halo` pixels; 1000 and more is exact. `benchmarks/reuse.py`
    measures what that costs. The frame is encoded whole when the changed box holds more than `most`
    of the picture, for larger boxes do not pay, and after `most_s` seconds, so that small errors
    cannot stay. In bfloat16 on a CPU hardly any box pays, since the last stages spend their time
    on weights and not on places; with `most=0` frames are then skipped or encoded whole.

    Tiles are compared with the pixels they were last computed from, so slow change is seen.
    work: multiplications done; kept: 1.7 million numbers.
    """

    part: ClassVar[str] = "backbone"
    encoder: ClassVar[str] = "nano's convolutional encoder"
    instead: ClassVar[str] = "cacher, gated, interleave"
    inner: ClassVar[EfficientNetLite0]

    threshold: float = 0.04   # mean change of a tile's pixels, 0..1; -1: every tile counts
    halo: int = 32            # pixels
    most: float = 0.3         # share of the picture
    most_s: float = 10.0      # stream time

    seen: Tensor | None = field(default=None, init=False)            # (1, 3, S, S), as computed
    whole_pts: float = field(default=0.0, init=False)                # seconds
    maps: list[Tensor] = field(default_factory=list, init=False)     # each stage's output

    def __post_init__(self) -> None:
        check_setting(self, "threshold", -1, 1)
        check_setting(self, "halo", 0, 4096)
        check_setting(self, "most", 0, 1)
        check_setting(self, "most_s", 0, 3600)

    def inside(self) -> AbstractContextManager[None]:
        return standing_in({self.inner: self._forward})

    def _forward(self, pixels: Tensor) -> Tensor:
        """(1, 3, S, S) in the backbone's range -> (1, 1280, S / 32, S / 32), the map of the frame.

        A copy: what is kept changes with the next frame.
        """
        if self.seen is None or self.pts - self.whole_pts >= self.most_s:
            return self._whole(pixels)
        region = self._changed(pixels)
        if region is None:
            self.work = 0.0
        elif area(region) > self.most * pixels.shape[-1] * pixels.shape[-2]:
            return self._whole(pixels)
        else:
            self._patch(pixels, region)
        return self.maps[-1].clone()

    def _whole(self, pixels: Tensor) -> Tensor:
        self.seen, self.whole_pts, self.work, self.maps = pixels.clone(), self.pts, 1.0, []
        for stage in self.inner.stages():
            self.maps.append(stage(self.maps[-1] if self.maps else pixels))
        return self.maps[-1].clone()

    def _changed(self, pixels: Tensor) -> Region | None:
        """The box around the tiles that changed."""
        change = (pixels - self.seen).float().abs().mean(1, keepdim=True) / GREYS
        tiles = F.avg_pool2d(change, TILE)[0, 0] > self.threshold
        if not tiles.any():
            return None
        rows, columns = tiles.any(1).nonzero(), tiles.any(0).nonzero()
        (top, bottom), (left, right) = ((int(at[0]), int(at[-1]) + 1) for at in (rows, columns))
        return (top * TILE, bottom * TILE), (left * TILE, right * TILE)

    def _patch(self, pixels: Tensor, changed: Region) -> None:
        """Run all stages on the box, and paste what they make."""
        paste(self.seen, changed, cut(pixels, changed))
        before, region, done, all_of_it = self.seen, changed, 0, 0
        for stage, kept in zip(self.inner.stages(), self.maps, strict=True):
            shrunk = pixels.shape[-1] / kept.shape[-1]
            region = tuple(
                overlap(reached(span, stage.conv, size), grown(pixel, self.halo, shrunk), most)
                for span, size, pixel, most in
                zip(region, before.shape[-2:], changed, kept.shape[-2:], strict=True)
            )
            paste(kept, region, run(stage, before, region))
            weights = sum(weight.numel() for weight in stage.module.parameters())
            done += weights * area(region)
            all_of_it += weights * kept.shape[-2] * kept.shape[-1]
            before = kept
        self.work = done / all_of_it


def run(stage: Stage, x: Tensor, region: Region) -> Tensor:
    """What a stage makes at `region` of its output from the map x (1, C, H, W)."""
    spans, zeros = zip(*(needed(span, stage.conv, size) for span, size in
                         zip(region, x.shape[-2:], strict=True)), strict=True)
    lifted = stage.lift(cut(x, spans))
    y = stage.settle(stage.conv.bare(F.pad(lifted, (*zeros[1], *zeros[0]))))
    return y + cut(x, region) if stage.residual else y


def needed(span: Span, conv: SameConv, size: int) -> tuple[Span, Span]:
    """Which of `size` inputs a span of outputs sees, and the zeros before and after these."""
    k, stride, pad = conv.kernel_size[0], conv.stride[0], conv.margins(size)[0]
    first, last = span[0] * stride - pad, (span[1] - 1) * stride - pad + k
    return (max(first, 0), min(last, size)), (max(-first, 0), max(last - size, 0))


def reached(span: Span, conv: SameConv, size: int) -> Span:
    """Which outputs see any of a span of inputs."""
    k, stride, pad = conv.kernel_size[0], conv.stride[0], conv.margins(size)[0]
    first, last = -(-(span[0] + pad - k + 1) // stride), (span[1] - 1 + pad) // stride
    return max(first, 0), last + 1


def grown(span: Span, halo: int, shrunk: float) -> Span:
    """A span of pixels and `halo` around it, in places of a map that is `shrunk` times smaller."""
    return int((span[0] - halo) // shrunk), int(-(-(span[1] + halo) // shrunk))


def overlap(a: Span, b: Span, size: int) -> Span:
    return max(a[0], b[0], 0), min(a[1], b[1], size)


def area(region: Region) -> int:
    (top, bottom), (left, right) = region
    return (bottom - top) * (right - left)


def cut(x: Tensor, region: Region) -> Tensor:
    (top, bottom), (left, right) = region
    return x[..., top:bottom, left:right]


def paste(x: Tensor, region: Region, part: Tensor) -> None:
    cut(x, region).copy_(part)
