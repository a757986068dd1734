"""Frame choice: frames that bring nothing are not read at all, some not even encoded.

`motion` compares pictures before the encoder sees them: the share of cells that differ from the
last frame read. `curvature` (CurveStream, arXiv 2603.19571) reads frames where the path of the
encoder's mean rows moves or bends more than it usually does. `scene` reads the frames that follow a
cut and then rests. Our additions: all read a frame when none was read for a while, so that "now" is
never older than that, and motion is against the last frame read, so that a slow drift adds up.
"""
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.scoring import saliency
from streamassist.tokens.base import TokenReducer, check_setting
from streamassist.types import VisualTokens

CELLS, STEP = (24, 32), 12   # of a picture; grey levels by which a cell must differ
SPREAD = 1e-6                # least deviation


@dataclass
class FrameChoice(TokenReducer):
    """Asks its `chooses` for each frame, unless one is due."""

    most_s: float = 2.0   # seconds without a frame read
    _last: float | None = field(default=None, init=False, repr=False)   # time of the last one read

    def __post_init__(self) -> None:
        check_setting(self, "most_s", 0, 3600)

    def chooses(self, tokens: VisualTokens) -> bool:
        raise NotImplementedError

    def _due(self, pts: float) -> bool:
        return self._last is None or not 0 <= pts - self._last < self.most_s

    def _taken(self, taken: bool, pts: float) -> bool:
        self.news = float(taken)
        self._last = pts if taken else self._last
        return taken

    def reduce(self, tokens: VisualTokens, image: np.ndarray) -> VisualTokens | None:
        chosen = self.chooses(tokens)   # asked of every frame: it may learn from them
        return tokens if self._taken(chosen or self._due(tokens.pts), tokens.pts) else None


@dataclass
class Motion(FrameChoice):
    least: float = 0.01   # share of cells that must differ
    _read: Tensor | None = field(default=None, init=False, repr=False)   # cells of the last one

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "least", 0, 1)

    def wants(self, image: np.ndarray, pts: float) -> bool:
        grey = torch.from_numpy(image).float().mean(-1)[None, None]
        cells, known = F.adaptive_avg_pool2d(grey, CELLS), self._read
        moved = 1.0 if known is None else float(((cells - known).abs() > STEP).float().mean())
        if self._taken(moved >= self.least or self._due(pts), pts):
            self._read = cells
            return True
        return False

    def reduce(self, tokens: VisualTokens, image: np.ndarray) -> VisualTokens:
        return tokens


@dataclass
class Curvature(FrameChoice):
    above: float = 0.0    # deviations above the running mean
    decay: float = 0.9
    _looks: list[Tensor] = field(default_factory=list, init=False, repr=False)
    _mean: float | None = field(default=None, init=False, repr=False)
    _variance: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "above", -10, 10)
        check_setting(self, "decay", 0, 1)

    def chooses(self, tokens: VisualTokens) -> bool:
        self._looks = [*self._looks[-2:], _look(tokens)]
        if len(self._looks) < 3:
            return True
        score = saliency(*self._looks)
        mean = score if self._mean is None else self._mean
        self._mean = mean + (1 - self.decay) * (score - mean)
        off = score - self._mean
        self._variance += (1 - self.decay) * (off * off - self._variance)
        return off / max(self._variance**0.5, SPREAD) >= self.above


@dataclass
class SceneCut(FrameChoice):
    change: float = 0.2   # cosine distance of neighbouring frames from which it is a cut
    follow: int = 2       # frames read from a cut on
    _before: Tensor | None = field(default=None, init=False, repr=False)
    _left: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "change", 0, 2)
        check_setting(self, "follow", 1, 1000)

    def chooses(self, tokens: VisualTokens) -> bool:
        before, self._before = self._before, _look(tokens)
        if before is None or float(1 - before @ self._before) > self.change:
            self._left = self.follow
        self._left -= 1
        return self._left >= 0


def _look(tokens: VisualTokens) -> Tensor:
    """(F,) of length 1: the mean of what frames are compared by."""
    return F.normalize(tokens.look.float().mean(0), dim=0)
