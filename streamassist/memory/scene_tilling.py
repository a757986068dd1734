"""SceneTilling: the stream is cut into scenes, and each keeps frames spread evenly over it.

VideoLLaMB, arXiv 2409.01071. The likeness c of neighbouring frames is followed; a frame begins a
scene where c lies deeper below the peak to its left than mean + half a deviation of all depths
(the online form, without the right peak). At most 15 scenes are held.
"""
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.memory.banks import TokenBank, total
from streamassist.memory.base import check_setting
from streamassist.types import VisualTokens


@dataclass(slots=True)
class Scene:
    """depth: of the boundary that opened it."""

    held: list[VisualTokens]
    depth: float


@dataclass
class SceneTilling(TokenBank):
    """The paper's bridge memory is trained. Our inference, in its place: whole frames of each
    scene; over budget, the scene that holds most gives up the frame with the nearest neighbours in
    time; beyond the limit of scenes, the shallowest boundary is lifted."""

    scenes: int = 15
    spread: float = 0.5   # deviations above the mean depth
    _scenes: list[Scene] = field(default_factory=list, init=False, repr=False)
    _look: Tensor | None = field(default=None, init=False, repr=False)
    _likeness: float = field(default=1.0, init=False, repr=False)
    _peak: float = field(default=1.0, init=False, repr=False)
    _depths: tuple[int, float, float] = field(default=(0, 0.0, 0.0), init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "scenes", 1, 1000)
        check_setting(self, "spread", 0, 10)

    def take(self, tokens: VisualTokens, look: Tensor) -> None:
        depth = self._depth(look)
        if not self._scenes or self._is_boundary(depth):
            self._scenes.append(Scene([], depth))
        self._scenes[-1].held.append(tokens)
        if len(self._scenes) > self.scenes:
            self._lift()
        while total(self._all()) > self.budget and len(self._all()) > 1:
            thin(max(self._scenes, key=lambda scene: len(scene.held)), tokens)
            self._scenes = [scene for scene in self._scenes if scene.held]

    def _depth(self, look: Tensor) -> float:
        """How far the likeness to the last frame lies below the peak to its left."""
        before, self._look = self._look, look
        if before is None or before.shape != look.shape:
            return 0.0
        likeness = float(F.cosine_similarity(before, look, dim=0))
        if likeness > self._likeness or self._depths[0] == 0:
            self._peak = likeness
        self._likeness = likeness
        return self._peak - likeness

    def _is_boundary(self, depth: float) -> bool:
        """Running mean and deviation of all depths, this one included (Welford)."""
        count, mean, squares = self._depths
        count, off = count + 1, depth - mean
        mean += off / count
        squares += off * (depth - mean)
        self._depths = count, mean, squares
        return depth > mean + self.spread * (squares / count) ** 0.5

    def _lift(self) -> None:
        """Join the two scenes with the shallowest boundary between them."""
        later = min(range(1, len(self._scenes)), key=lambda i: self._scenes[i].depth)
        self._scenes[later - 1].held += self._scenes.pop(later).held

    def _all(self) -> list[VisualTokens]:
        return [tokens for scene in self._scenes for tokens in scene.held]

    def chosen(self, question: str) -> list[VisualTokens]:
        return self._all()


def thin(scene: Scene, newest: VisualTokens) -> None:
    """Drop one frame: the inner one with the nearest neighbours; of one or two, the first that is
    not the newest frame of all."""
    if len(scene.held) < 3:
        del scene.held[int(scene.held[0] is newest)]
        return
    pts = torch.tensor([tokens.pts for tokens in scene.held], dtype=torch.float64)
    del scene.held[1 + int((pts[2:] - pts[:-2]).argmin())]
