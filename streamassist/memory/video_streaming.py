"""VideoStreaming without its training: summaries of 16-frame clips, four chosen by the question.

arXiv 2405.16009. The paper's small language model encodes clips into summary tokens and an
indicator, one clip reading the memory of the one before.
"""
from dataclasses import dataclass

from streamassist.memory.banks import shrink
from streamassist.memory.base import check_setting
from streamassist.memory.clips import ClipBank
from streamassist.types import VisualTokens

SIDE = 2   # of a frame's summary: the paper's 4 summary tokens


@dataclass
class VideoStreaming(ClipBank):
    """Our inference, training-free: a frame's summary is its map pooled to 2 x 2; the indicators
    are the clip's mean visual token and the mean of the question's words in the embedding space;
    the last whole frames follow the clips."""

    clips: int = 4   # chosen for a question

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "clips", 1, 1000)

    def add(self, maps: list[VisualTokens], count: int, tokens: VisualTokens) -> None:
        maps.append(shrink(tokens, SIDE, SIDE))

    def chosen(self, question: str) -> list[VisualTokens]:
        if not self._clips:
            return self._recent
        scores = self.likeness(question, self.looks())
        best = scores.topk(min(self.clips, len(scores))).indices.tolist()
        return self.recalled(scores, sorted(best))
