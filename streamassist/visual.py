"""Rows of a frame's visual tokens, where in its grid they stand, and their mean."""
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.types import VisualTokens


def places_of(tokens: VisualTokens) -> Tensor:
    """(N,) place of each row in the frame's grid, on the CPU."""
    return torch.arange(len(tokens.embeds)) if tokens.places is None else tokens.places.cpu()


def rows_of(tokens: VisualTokens, index: Tensor) -> VisualTokens:
    """The frame with only these rows (K,), ascending."""
    there = index.to(tokens.embeds.device)
    return replace(
        tokens, embeds=tokens.embeds[there], places=places_of(tokens)[index.cpu()],
        deepstack=tuple(level[there] for level in tokens.deepstack),
        signature=None if tokens.signature is None else tokens.signature[there],
    )


def look_of(tokens: VisualTokens) -> Tensor:
    """(F,) float32 of length 1: the mean of what frames are compared by."""
    return F.normalize(tokens.look.float().mean(0), dim=0)
