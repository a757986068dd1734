"""Pictures of the same series: shots of one event that differ little, told by a perceptual hash.

The hash is the difference hash in both directions: is a cell of a small grey copy brighter than
its neighbour on the right, and than the one below. Because the camera moves within a series, two
hashes are compared at every shift of up to two cells and the best agreement counts.

The threshold is loose on purpose: it takes in all near copies and moved shots we found by eye, and
about three unrelated pictures in 10,000. Shots of one event from another side are not recognised.
"""
from collections.abc import Iterable

import numpy as np
from PIL import Image

SIDE = 16
MAX_SHIFT = 2
SAME_SERIES = 0.37   # (equal bits - different bits) / bits; unrelated pictures have about 0.1


def difference_hash(image: Image.Image) -> np.ndarray:
    """(2, 16, 16) bool; the aspect is not kept, so a squashed copy has the hash of the original."""
    grey = image.convert("L").resize((SIDE + 1, SIDE + 1), Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.int16)
    right = pixels[:SIDE, 1:] > pixels[:SIDE, :-1]
    below = pixels[1:, :SIDE] > pixels[:-1, :SIDE]
    return np.stack([right, below])


def hashes(images: Iterable[tuple[int, Image.Image]], num_images: int) -> np.ndarray:
    """(num_images, 2, 16, 16) bool from (index, image) pairs in any order."""
    table = np.zeros((num_images, 2, SIDE, SIDE), dtype=bool)
    for index, image in images:
        table[index] = difference_hash(image)
    return table


def agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hashes (N, 2, 16, 16) and (M, 2, 16, 16) -> (N, M), -1..1, at the best shift."""
    a, b = (np.where(x, 1, -1).astype(np.float32) for x in (a, b))
    best = np.full((len(a), len(b)), -1.0, dtype=np.float32)
    steps = range(-MAX_SHIFT, MAX_SHIFT + 1)
    for dy, dx in ((y, x) for y in steps for x in steps):
        left = a[:, :, _from(dy), _from(dx)].reshape(len(a), -1)
        right = b[:, :, _from(-dy), _from(-dx)].reshape(len(b), -1)
        np.maximum(best, left @ right.T / left.shape[1], out=best)
    return best


def _from(shift: int) -> slice:
    """The cells that stay in view when the other picture lies `shift` cells further."""
    return slice(max(0, shift), SIDE + min(0, shift))


def same_series(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hashes (N, ...) and (M, ...) -> (N, M) bool."""
    return agreement(a, b) >= SAME_SERIES
