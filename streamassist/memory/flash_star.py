"""STAR, the memory of the first Flash-VStream, without its learned part.

arXiv 2406.08085: the current frame whole, weighted k-means over maps at half the side, and the
three whole frames nearest to the heaviest centroids. The abstract memory, 25 tokens that a learned
attention updates, is left out.
"""
from dataclasses import dataclass

from streamassist.memory.base import check_setting
from streamassist.memory.clusters import ClusterBank


@dataclass
class FlashStar(ClusterBank):
    """The paper holds 25 centroids. Our inference: as many as the budget allows, and key frames
    take half of it at most."""

    key_frames: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "key_frames", 0, 1000)

    def counts(self, whole: int, small: int, room: int) -> tuple[int, int]:
        frames = min(self.key_frames, room // 2 // whole)
        return frames, (room - frames * whole) // small
