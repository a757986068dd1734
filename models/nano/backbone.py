"""EfficientNet-Lite0, the image backbone of nano (arXiv 1905.11946, the "lite" variant without SE).

Parameter names follow the released weights, so they load with `strict=True`.
Input: (B, 3, 288, 288) scaled as (x - 127) / 128. It was trained at 224, but sees more at 288, as
such networks do (arXiv 1906.06423). TensorFlow's asymmetric "SAME" padding matters only where the
stride is 2.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_SIZE = 288
FEATURE_DIM = 1280

# kernel, repeats, channels in, channels out, expansion, stride of the first block
STAGES = (
    (3, 1, 32, 16, 1, 1),
    (3, 2, 16, 24, 6, 2),
    (5, 2, 24, 40, 6, 2),
    (3, 3, 40, 80, 6, 2),
    (5, 3, 80, 112, 6, 1),
    (5, 4, 112, 192, 6, 2),
    (3, 1, 192, 320, 6, 1),
)


class SameConv(nn.Conv2d):
    """Conv2d with TensorFlow's "SAME" padding."""

    def margins(self, size: int) -> tuple[int, int]:
        """Zeros before and after a side of `size`."""
        k, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return (k - 1) // 2, (k - 1) // 2
        pad = max((math.ceil(size / stride) - 1) * stride + k - size, 0)
        return pad // 2, pad - pad // 2

    def bare(self, x: Tensor) -> Tensor:
        """The convolution without any padding."""
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (self.margins(size) for size in x.shape[-2:])
        if self.stride[0] == 1:
            return F.conv2d(x, self.weight, self.bias, 1, (top, left), 1, self.groups)
        return self.bare(F.pad(x, (left, right, top, bottom)))


@dataclass(frozen=True)
class Stage:
    """One step of the backbone: only `conv` looks at neighbours. x + y where `residual`."""

    module: nn.Module
    lift: Callable[[Tensor], Tensor]
    conv: SameConv
    settle: Callable[[Tensor], Tensor]
    residual: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        y = self.settle(self.conv(self.lift(x)))
        return x + y if self.residual else y


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class MBConv(nn.Module):
    """Inverted residual block: expand, depthwise, project."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        c_mid = c_in * expansion
        self.expand, self.residual = expansion != 1, stride == 1 and c_in == c_out
        if self.expand:
            self._expand_conv = SameConv(c_in, c_mid, 1, bias=False)
            self._bn0 = _norm(c_mid)
        self._depthwise_conv = SameConv(c_mid, c_mid, kernel, stride, groups=c_mid, bias=False)
        self._bn1 = _norm(c_mid)
        self._project_conv = SameConv(c_mid, c_out, 1, bias=False)
        self._bn2 = _norm(c_out)

    def lift(self, x: Tensor) -> Tensor:
        return F.relu6(self._bn0(self._expand_conv(x))) if self.expand else x

    def settle(self, y: Tensor) -> Tensor:
        return self._bn2(self._project_conv(F.relu6(self._bn1(y))))

    def stage(self) -> Stage:
        return Stage(self, self.lift, self._depthwise_conv, self.settle, self.residual)


class EfficientNetLite0(nn.Module):
    """`forward` gives the last feature map; `classify` the 1000 ImageNet logits."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks = []
        for kernel, repeats, c_in, c_out, expansion, stride in STAGES:
            for j in range(repeats):
                first = j == 0
                blocks.append(
                    MBConv(
                        c_in if first else c_out, c_out, kernel, stride if first else 1, expansion
                    )
                )
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(320, FEATURE_DIM, 1, bias=False)
        self._bn1 = _norm(FEATURE_DIM)
        self._fc = nn.Linear(FEATURE_DIM, 1000)

    def stages(self) -> list[Stage]:
        """All that `forward` does, step by step."""
        stem, head = self._conv_stem, self._conv_head
        return [
            Stage(stem, nn.Identity(), stem, lambda y: F.relu6(self._bn0(y))),
            *(block.stage() for block in self._blocks),
            Stage(head, nn.Identity(), head, lambda y: F.relu6(self._bn1(y))),
        ]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 288, 288) -> (B, 1280, 9, 9)."""
        for stage in self.stages():
            x = stage(x)
        return x

    def classify(self, features: Tensor) -> Tensor:
        """(B, 1280, H, W) -> (B, 1000) logits."""
        return self._fc(features.mean((2, 3)))

    def fuse(self) -> "EfficientNetLite0":
        """Fold every batch norm into its convolution (eval only); error about 4e-6."""
        fuse = torch.nn.utils.fusion.fuse_conv_bn_eval
        for module in self.modules():
            pairs = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}
            if isinstance(module, MBConv):
                pairs = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
            for conv, norm in pairs.items():
                if hasattr(module, conv) and isinstance(getattr(module, norm), nn.BatchNorm2d):
                    setattr(module, conv, fuse(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())
        return self


def normalize(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 or float in 0..255 -> the backbone's input range."""
    return (images.float() - 127.0) / 128.0


def pooled_tokens(feature_map: Tensor, side: int) -> Tensor:
    """(B, C, H, W) -> (B, side*side, C), row by row; `side` 4 gives 16 tokens."""
    if side != feature_map.shape[-1]:
        feature_map = F.adaptive_avg_pool2d(feature_map, side)
    return feature_map.flatten(2).transpose(1, 2)
