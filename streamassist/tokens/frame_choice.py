"""Frame choice: frames that bring nothing are not read at all, some not even encoded.

`motion` compares pictures before the encoder sees them: the share of cells that differ from the
last frame read. `curvature` (CurveStream, arXiv 2603.19571) reads frames where the path of the
encoder's mean rows moves or bends more than it usually does. `scene` reads the frames that follow a
cut and then rests. Our additions: all read a frame when none was read for a while, so that "now" is
never older than that, and motion is against the last frame read, so that a slow drift adds up.
"""
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from streamassist.curve import CurveMeter
from streamassist.motion import MotionMeter
from streamassist.tokens.base import TokenReducer, check_setting
from streamassist.types import VisualTokens
from streamassist.visual import look_of


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
    _meter: MotionMeter = field(default_factory=MotionMeter, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "least", 0, 1)

    def wants(self, image: np.ndarray, pts: float) -> bool:
        moved = self._meter.share(image) >= self.least
        if taken := self._taken(moved or self._due(pts), pts):
            self._meter.update(image)
        return taken

    def reduce(self, tokens: VisualTokens, image: np.ndarray) -> VisualTokens:
        return tokens


@dataclass
class Curvature(FrameChoice):
    above: float = 0.0    # deviations above the running mean
    decay: float = 0.9
    _curve: CurveMeter | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "above", -10, 10)
        check_setting(self, "decay", 0, 1)

    def chooses(self, tokens: VisualTokens) -> bool:
        self._curve = self._curve or CurveMeter(self.decay)
        deviations = self._curve.deviations(look_of(tokens))
        return deviations is None or deviations >= self.above


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
        before, self._before = self._before, look_of(tokens)
        if before is None or float(1 - before @ self._before) > self.change:
            self._left = self.follow
        self._left -= 1
        return self._left >= 0
