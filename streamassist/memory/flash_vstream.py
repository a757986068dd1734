"""Flash-VStream, ICCV 2025: clustered small maps, and whole frames near the heaviest clusters.

arXiv 2506.23825, its two memories for Qwen2-VL: CSM, maps at half the side clustered by weighted
k-means, and DAM, half as many whole frames as there are clusters, those nearest to the heaviest.
"""
from dataclasses import dataclass

from streamassist.memory.clusters import ClusterBank


@dataclass
class FlashVStream(ClusterBank):
    """The paper holds 60 clusters and 30 frames. Our inference: both kinds stand in one order of
    time in place of the frames first, the times being what frames and means of clusters have."""

    def counts(self, whole: int, small: int, room: int) -> tuple[int, int]:
        """Twice as many clusters as frames; what is left holds further clusters."""
        frames = room // (whole + 2 * small)
        return frames, (room - frames * whole) // small
