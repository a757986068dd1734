"""Two frames read as one: the vision towers of Qwen2.5-VL and Qwen3-VL take them in pairs.

Their patches are two frames deep (temporal_patch_size; Qwen2.5-VL, arXiv 2502.13923). Live, each
frame is a still picture that fills both layers. Where two frames are known, as in a file, they can
share one set of tokens: half the work of tower and language model a frame, and half the tokens.
Off unless an adapter is given pairs. A pair counts as its newer frame.
"""
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models.preprocess import PatchFrames
from streamassist.errors import StreamAssistError
from streamassist.types import Frame


@dataclass(frozen=True, slots=True)
class FramePair(Frame):
    """`earlier` is the frame before, RGB (H, W, 3) uint8 of the same shape as `image`."""

    earlier: np.ndarray


def paired(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Each two frames as one; an odd last one stays a still picture."""
    earlier: Frame | None = None
    for frame in frames:
        if earlier is None:
            earlier = frame
        else:
            yield FramePair(frame.image, frame.pts, frame.index, earlier.image)
            earlier = None
    if earlier is not None:
        yield earlier


def patches_of(
    pixels: PatchFrames, frame: Frame, device: torch.device
) -> tuple[Tensor, tuple[int, int]]:
    """As `pixels`: patches (gh * gw, 3 * temporal * patch**2) of a frame or a pair, and (gh, gw).

    Raises StreamAssistError for a pair of different shapes, or a tower that takes no pairs.
    """
    if not isinstance(frame, FramePair):
        return pixels(frame.image, device)
    if pixels.temporal != 2 or frame.image.shape != frame.earlier.shape:
        raise StreamAssistError("Frames can be read in pairs of one size by towers that take two.")
    one = replace(pixels, temporal=1)
    (before, size), (now, _) = one(frame.earlier, device), one(frame.image, device)
    layers = [x.unflatten(1, (3, 1, -1)) for x in (before, now)]
    return torch.cat(layers, 2).flatten(1), size
