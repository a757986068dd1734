"""Tokens compared with what stands around them in the frame's grid, or in the next frame's."""
import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.types import VisualTokens
from streamassist.visual import places_of

BINS, MOST = 128, 2.0   # of Otsu's histogram; cosine distances reach 2


def otsu(distances: Tensor) -> float:
    """The threshold between 0 and 2 that parts these distances (n,) into the two classes that lie
    farthest apart (Otsu 1979); the smallest one where all fall into one bin."""
    counts = torch.histc(distances, BINS, 0.0, MOST)
    middle = (torch.arange(BINS) + 0.5) * MOST / BINS
    below, mass = counts.cumsum(0), (counts * middle).cumsum(0)
    above = below[-1] - below
    apart = (mass[-1] * below - mass * below[-1]).square() / (below * above).clamp(min=1e-9)
    return float(apart.where(above > 0, 0.0).argmax() + 1) * MOST / BINS


def near(a: VisualTokens, b: VisualTokens) -> Tensor:
    """(n, m) bool: tokens of two frames of the same grid at most one row and one column apart."""
    width, one, other = a.grid[2], places_of(a)[:, None], places_of(b)[None]
    rows = (one // width - other // width).abs()
    return (rows <= 1) & ((one % width - other % width).abs() <= 1)


def distances(a: VisualTokens, b: VisualTokens) -> Tensor:
    """(n, m) cosine distances, 0..2, on the CPU; 2 between tokens that are not near."""
    one, other = (F.normalize(t.embeds.float(), dim=-1) for t in (a, b))
    far = (1 - one @ other.T).clamp(0, MOST).cpu()
    return far.masked_fill(~near(a, b), MOST)


def change(tokens: VisualTokens, other: VisualTokens | None) -> Tensor:
    """(n,) distance of each token to the most alike of the 3 x 3 around its place in another frame;
    2 where that is missing or of another size."""
    if other is None or other.grid != tokens.grid:
        return torch.full((len(tokens.embeds),), MOST)
    return distances(tokens, other).amin(1)


def components(tokens: VisualTokens) -> Tensor:
    """(n,) the first row of the component that each token belongs to: neighbours are linked whose
    distance is under Otsu's threshold for all neighbours."""
    far = distances(tokens, tokens)
    linked, own = near(tokens, tokens), torch.arange(len(far))
    pairs = far[linked & (own[:, None] < own)]
    linked &= (far <= otsu(pairs)) | (own[:, None] == own)
    label = own
    for _ in range(len(own)):
        lower = label.expand(len(own), -1).masked_fill(~linked, len(own)).amin(1)
        if torch.equal(lower, label):
            break
        label = lower
    return label
