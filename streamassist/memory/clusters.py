"""What the two memories of Flash-VStream share: clustered small maps and key frames near them."""
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.memory.banks import TokenBank, blend, cost, half, shrink, with_newest
from streamassist.memory.base import check_setting
from streamassist.types import VisualTokens

ROUNDS = 10    # most steps of a clustering
SMALL = 1e-9   # less than any mass that a centroid with points has


@dataclass
class ClusterBank(TokenBank):
    """Small maps of all frames, clustered by weighted k-means when there are too many, and the
    whole frames nearest to the heaviest centroids.

    Our inference: the counts follow from the token budget; clustering waits until it frees room
    for `chunk` maps; the centroids start from maps drawn by a generator seeded with the frame;
    frames of another size begin a new memory.
    """

    chunk: int = 4
    _maps: list[VisualTokens] = field(default_factory=list, init=False, repr=False)
    _weights: list[float] = field(default_factory=list, init=False, repr=False)
    _keys: list[tuple[VisualTokens, Tensor]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "chunk", 1, 1000)

    def counts(self, whole: int, small: int, room: int) -> tuple[int, int]:
        """(key frames, centroids) that fit `room` tokens, given the tokens of either."""
        raise NotImplementedError

    def take(self, tokens: VisualTokens, look: Tensor) -> None:
        _, height, width = tokens.grid
        small = shrink(tokens, half(height), half(width))
        if self._maps and self._maps[0].grid != small.grid:
            self._maps, self._weights, self._keys = [], [], []
        self._maps.append(small)
        self._weights.append(1.0)
        self._keys.append((tokens, point_of(small)))
        whole = cost(small) + height * width - len(small.embeds)   # also if it lost rows
        num_keys, num_maps = self.counts(whole, cost(small), max(0, self.budget - whole))
        if len(self._maps) > num_maps:
            self._cluster(max(min(num_maps, 1), num_maps + 1 - self.chunk))
        if len(self._keys) > num_keys:
            self._keys = self._nearest(num_keys)

    def _cluster(self, count: int) -> None:
        if not count:
            self._maps, self._weights = [], []
            return
        points = torch.stack([point_of(m) for m in self._maps])
        draw = torch.Generator().manual_seed(self._newest.frame)
        start = torch.randperm(len(points), generator=draw)[:count].sort().values
        label = weighted_kmeans(points, torch.tensor(self._weights), start).tolist()
        members = [[i for i, own in enumerate(label) if own == k] for k in sorted(set(label))]
        merged = sorted((self._merged(group) for group in members), key=lambda m: m[0].pts)
        self._maps, self._weights = [m for m, _ in merged], [w for _, w in merged]

    def _merged(self, group: list[int]) -> tuple[VisualTokens, float]:
        maps, weights = [self._maps[i] for i in group], [self._weights[i] for i in group]
        return (maps[0] if len(maps) == 1 else blend(maps, weights)), sum(weights)

    def _nearest(self, count: int) -> list[tuple[VisualTokens, Tensor]]:
        """The frames nearest to the heaviest centroids, none twice, in order of time."""
        heavy = torch.tensor(self._weights).argsort(descending=True, stable=True)[:count]
        if not len(heavy):
            return []
        far = torch.cdist(
            torch.stack([point_of(self._maps[i]) for i in heavy.tolist()]),
            torch.stack([point for _, point in self._keys]),
        )
        chosen = []
        for row in far:
            row[chosen] = torch.inf
            chosen.append(int(row.argmin()))
        return [self._keys[i] for i in sorted(chosen)]

    def chosen(self, question: str) -> list[VisualTokens]:
        return with_newest([*self._maps, *(tokens for tokens, _ in self._keys)], self._newest)


def point_of(tokens: VisualTokens) -> Tensor:
    """(N * D,) float32: a map as clustering compares it."""
    return tokens.embeds.float().flatten()


def weighted_kmeans(points: Tensor, weight: Tensor, start: Tensor) -> Tensor:
    """Which centroid each point (T, F) belongs to, (T,); weight (T,); `start`: the points (K,) that
    the centroids start from. Nearest by Euclidean distance; one without points stays where it is.
    """
    weight = weight.to(points)
    centroids, label = points[start], None
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, centroids).argmin(1)
        if label is not None and torch.equal(nearest, label):
            break
        label = nearest
        mass = weight.new_zeros(len(start)).index_add_(0, label, weight)
        moved = torch.zeros_like(centroids).index_add_(0, label, points * weight[:, None])
        moved /= mass.clamp(min=SMALL)[:, None]
        centroids = torch.where(mass[:, None] > SMALL, moved, centroids)
    return label
