"""OmniLive's memory without its training: an overview of all clips, and those like the question.

InternLM-XComposer2.5-OmniLive, arXiv 2412.09596: 16-frame clips become 64 tokens and one clip
token; clips with a cosine above 0.2 to the question are chosen, all of them where there is none.
"""
from dataclasses import dataclass, field, replace

from torch import Tensor

from streamassist.memory.banks import blend, shrink, stacked
from streamassist.memory.base import check_setting
from streamassist.memory.clips import ClipBank
from streamassist.types import VisualTokens

SIDE = 4     # of a clip's maps
PARTS = 4    # maps of a clip: 4 of 4 x 4 are the paper's 64 tokens


@dataclass
class OmniLive(ClipBank):
    """Our inference, training-free: a clip is four maps, each the mean of a quarter of its frames
    pooled to 4 x 4; its token is the mean of those; cosines are taken after the mean of all clips
    is subtracted, which they share, and against the mean of the question's words."""

    threshold: float = 0.2
    _overview: VisualTokens | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "threshold", -1, 1)

    def take(self, tokens: VisualTokens, look: Tensor) -> None:
        self._overview = None
        super().take(tokens, look)

    def add(self, maps: list[VisualTokens], count: int, tokens: VisualTokens) -> None:
        small, inside = shrink(tokens, SIDE, SIDE), count % max(1, self.length // PARTS)
        if inside:
            maps[-1] = blend([maps[-1], small], [inside, 1])
        else:
            maps.append(small)

    def size(self) -> int:
        """With the overview: one token a clip, and the words around them."""
        if not self._clips:
            return super().size()
        first = self._clips[0].maps[0]
        return super().size() + len(first.before) + len(self._clips) + len(first.after)

    def chosen(self, question: str) -> list[VisualTokens]:
        if not self._clips:
            return self._recent
        looks = self.looks()
        scores = self.likeness(question, looks - looks.mean(0))
        like = (scores > self.threshold).nonzero()[:, 0].tolist()
        if self._overview is None:
            self._overview = self._points()
        return [self._overview, *self.recalled(scores, like or range(len(scores)))]

    def _points(self) -> VisualTokens:
        """The clip tokens as one picture, as old as the oldest of what follows."""
        points = [shrink(clip.shown(), 1, 1) for clip in self._clips]
        oldest = min(self._clips[0].maps[0].pts, self._recent[0].pts)
        return stacked(points, replace(points[0], pts=oldest))
