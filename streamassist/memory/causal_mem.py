"""CausalMem: the visual tokens that a running basis of what was seen explains worst.

arXiv 2606.25658. The score of a token x is the norm of x - U U'x, U an orthonormal basis of at most
256 directions that gains up to 8 a frame and whose energies decay by 0.9; the tokens a frame loses
leave one mean background token.
"""
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from streamassist.basis import RunningBasis
from streamassist.memory.banks import TokenBank, total
from streamassist.memory.base import check_setting
from streamassist.types import VisualTokens
from streamassist.visual import places_of, rows_of


@dataclass(slots=True)
class Held:
    """score: (n,) float32 on the CPU; ground: place of the background row, -1 without one;
    behind: tokens averaged in it."""

    tokens: VisualTokens
    score: Tensor
    ground: int = -1
    behind: float = 0.0


@dataclass
class CausalMem(TokenBank):
    """Our inference: directions seen again regain energy; scores are divided by their running mean,
    for else the first frames, met by an empty basis, would stay for ever; over budget the oldest
    whole frames keep their best `share`, then the lowest tokens of all join their background, and
    a background alone leaves as the lowest."""

    rank: int = 256
    share: float = 0.25
    _held: list[Held] = field(default_factory=list, init=False, repr=False)
    _basis: RunningBasis | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "rank", 1, 100_000)
        check_setting(self, "share", 0, 1)

    def take(self, tokens: VisualTokens, look: Tensor) -> None:
        self._basis = self._basis or RunningBasis(self.rank)
        self._held.append(Held(tokens, self._basis.novelty(tokens.embeds.float()).cpu()))
        for i, held in enumerate(self._held[:-1]):
            if held.ground < 0 and len(held.score) > 1 and self._excess() > 0:
                self._held[i] = fold(held, ~best(held.score, self.share))
        while (excess := self._excess()) > 0 and len(self._held) > 1:
            self._evict(excess)

    def _excess(self) -> int:
        return total([held.tokens for held in self._held]) - self.budget

    # ------------------------------------------------------------ forgetting

    def _evict(self, excess: int) -> None:
        """Of all but the newest frame the lowest tokens, at most `excess` of them."""
        open_scores = [free(held) for held in self._held[:-1]]
        owner = torch.cat([torch.full((len(s),), i) for i, s in enumerate(open_scores)])
        scores = torch.cat(open_scores)
        lowest = scores.argsort(stable=True)[:excess]
        gone = torch.zeros(len(scores), dtype=torch.bool)
        gone[lowest[scores[lowest].isfinite()]] = True
        for i in owner[gone].unique().tolist():
            held = self._held[i]
            self._held[i] = None if len(held.score) == 1 else fold(held, gone[owner == i])
        self._held = [held for held in self._held if held is not None]

    def chosen(self, question: str) -> list[VisualTokens]:
        return [held.tokens for held in self._held]


def best(score: Tensor, share: float) -> Tensor:
    """(n,) bool: the highest `share` of the scores, one at least."""
    count = max(1, round(share * len(score)))
    return torch.zeros(len(score), dtype=torch.bool).index_fill(0, score.topk(count).indices, True)


def free(held: Held) -> Tensor:
    """The scores by which tokens leave; a background stays while there are others."""
    if len(held.score) == 1:
        return held.score
    return held.score.masked_fill(places_of(held.tokens) == held.ground, torch.inf)


def fold(held: Held, gone: Tensor) -> Held:
    """The frame with the rows `gone` (n,) averaged into its background, which stands where the
    first of them stood."""
    at = places_of(held.tokens)
    ground = at == held.ground
    weight = torch.where(ground, held.behind, 1.0) * (gone | ground)
    if not weight.any():
        return held
    first, share = int(weight.nonzero()[0]), weight / weight.sum()
    index = (weight.eq(0) | (torch.arange(len(at)) == first)).nonzero()[:, 0]

    def mixed(rows: Tensor) -> Tensor:
        mean = share.to(rows.device) @ rows.float()
        return rows.index_copy(0, torch.tensor([first], device=rows.device), mean[None].to(rows))

    tokens = replace(
        held.tokens, embeds=mixed(held.tokens.embeds),
        deepstack=tuple(map(mixed, held.tokens.deepstack)),
    )
    score = mixed(held.score[:, None])[:, 0]
    return Held(rows_of(tokens, index), score[index], int(at[first]), float(weight.sum()))
