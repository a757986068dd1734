"""Frames -> model pixels, in torch on the model's device, equal to the processors of transformers.

Those processors resize with Pillow and run on the CPU only. `resize` repeats Pillow's arithmetic:
one filter pass along the rows, then one along the columns, weights in steps of 2**-22, each pass
rounded to whole grey levels. In float64 all of that is exact, so not one level differs.
"""
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamassist.errors import StreamAssistError

Colour = tuple[float, float, float]
MAX_ASPECT = 200       # a longer strip leaves no patch across
WEIGHT_STEPS = 2**22   # Pillow's fixed point


# ---------------------------------------------------------------- resizing as Pillow does

def _bicubic(x: Tensor) -> Tensor:
    """Cubic convolution with a = -0.5, support 2 (Keys 1981)."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _lanczos(x: Tensor) -> Tensor:
    """Windowed sinc, support 3."""
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), torch.zeros_like(x))


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"bicubic": _bicubic, "lanczos": _lanczos}


@lru_cache(maxsize=32)
def _weights(old: int, new: int, kind: str, device: torch.device) -> Tensor:
    """(new, old) float64: each row the filter around one output pixel, widened to shrink."""
    scale = old / new
    centre = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    offset = torch.arange(old, dtype=torch.float64) + 0.5 - centre[:, None]
    weights = FILTERS[kind](offset / max(scale, 1.0))
    weights = weights / weights.sum(1, keepdim=True)
    return ((weights * WEIGHT_STEPS).round() / WEIGHT_STEPS).to(device)


def _whole(x: Tensor) -> Tensor:
    return (x + 0.5).floor().clamp(0, 255)


def resize(image: Tensor, size: tuple[int, int], kind: str) -> Tensor:
    """image (3, H, W) float64 in 0..255 -> (3, *size), in whole grey levels."""
    height, width = size
    if width != image.shape[2]:
        image = _whole(image @ _weights(image.shape[2], width, kind, image.device).T)
    if height != image.shape[1]:
        image = _whole(_weights(image.shape[1], height, kind, image.device) @ image)
    return image


def planes(image: np.ndarray, device: torch.device) -> Tensor:
    """RGB picture (H, W, 3) uint8 -> (3, H, W) float64 in 0..255 on `device`.

    The copy makes room for arrays torch refuses: read-only ones and flipped views. On its way to a
    GPU it is pinned, so that the GPU goes on with other work meanwhile.
    """
    pixels = torch.from_numpy(image.copy())
    if device.type == "cuda":
        pixels = pixels.pin_memory()
    return pixels.to(device, non_blocking=True).permute(2, 0, 1).double()


def normalize(image: Tensor, mean: Colour, std: Colour) -> Tensor:
    """(3, H, W) in 0..255 -> float32 with the given mean and deviation of 0..1 taken out."""
    image = image.float()
    shift, scale = (image.new_tensor(c)[:, None, None] for c in (mean, std))
    return (image / 255 - shift) / scale


# ---------------------------------------------------------------- Qwen-VL: patches of any size

def smart_size(height: int, width: int, factor: int, low: int, high: int) -> tuple[int, int]:
    """Multiples of `factor` nearest to the picture's shape, with `low` to `high` pixels in all."""
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise StreamAssistError(
            f"A picture of {width} x {height} is too narrow to be read; crop it to a shape "
            f"below {MAX_ASPECT}:1."
        )
    new = [round(side / factor) * factor for side in (height, width)]
    if new[0] * new[1] > high:
        ratio = math.sqrt(height * width / high)
        new = [max(factor, math.floor(side / ratio / factor) * factor) for side in (height, width)]
    elif new[0] * new[1] < low:
        ratio = math.sqrt(low / (height * width))
        new = [math.ceil(side * ratio / factor) * factor for side in (height, width)]
    return new[0], new[1]


def patchify(image: Tensor, patch: int, merge: int, temporal: int) -> Tensor:
    """(3, gh * patch, gw * patch) -> (gh * gw, 3 * temporal * patch**2), merge blocks together.

    A still picture fills all `temporal` layers of its patches.
    """
    gh, gw = image.shape[1] // patch, image.shape[2] // patch
    x = image.reshape(3, gh // merge, merge, patch, gw // merge, merge, patch)
    x = x.permute(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
    x = x.expand(-1, -1, -1, -1, -1, temporal, -1, -1)
    return x.reshape(gh * gw, 3 * temporal * patch * patch)


@dataclass(frozen=True)
class PatchFrames:
    """Frames of any size, resized to a pixel budget and cut into patches (Qwen-VL)."""

    patch: int
    merge: int
    temporal: int
    mean: Colour
    std: Colour
    min_pixels: int
    max_pixels: int

    def __call__(self, image: np.ndarray, device: torch.device) -> tuple[Tensor, tuple[int, int]]:
        """(H, W, 3) uint8 -> patches as `patchify` makes them, and (gh, gw) in patches."""
        x = planes(image, device)
        size = smart_size(
            *x.shape[1:], self.patch * self.merge, self.min_pixels, self.max_pixels
        )
        x = normalize(resize(x, size, "bicubic"), self.mean, self.std)
        patches = patchify(x, self.patch, self.merge, self.temporal)
        return patches, (size[0] // self.patch, size[1] // self.patch)


# ---------------------------------------------------------------- SmolVLM: one square

def _longest_edge(height: int, width: int, edge: int) -> tuple[int, int]:
    """The size with its longer side `edge` and the other even, as the SmolVLM processor rounds."""
    shorter = int(edge / (width / height)) if width >= height else int(edge * (width / height))
    shorter = max(shorter + shorter % 2, 1)
    return (shorter, edge) if width >= height else (edge, shorter)


@dataclass(frozen=True)
class SquareFrames:
    """Frames scaled to `edge` and then squeezed into a square of `side` pixels (SmolVLM video)."""

    edge: int
    side: int
    mean: Colour
    std: Colour

    def __call__(self, image: np.ndarray, device: torch.device) -> Tensor:
        """(H, W, 3) uint8 -> (3, side, side)."""
        x = planes(image, device)
        x = resize(x, _longest_edge(*x.shape[1:], self.edge), "lanczos")
        return normalize(resize(x, (self.side, self.side), "lanczos"), self.mean, self.std)


# ---------------------------------------------------------------- settings of a checkpoint

def read_settings(folder: Path) -> dict[str, Any]:
    """What the image processor saved with a checkpoint; {} where it saved nothing."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        path = folder / name
        if not path.exists():
            continue
        try:
            settings = json.loads(path.read_text())
        except ValueError as error:
            raise StreamAssistError(
                f"{path} cannot be read as JSON; copy the checkpoint again."
            ) from error
        return settings.get("image_processor", settings)
    return {}


def colour(settings: dict[str, Any], key: str, default: Colour) -> Colour:
    """`settings[key]` as three floats."""
    red, green, blue = settings.get(key, default)
    return float(red), float(green), float(blue)
