"""What methods share that hold clips of a few summary maps and let the question choose clips."""
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.memory.banks import TokenBank, stacked, total, with_newest, within, words_of
from streamassist.memory.base import check_setting
from streamassist.scoring import adjacent_cosine
from streamassist.types import VisualTokens


@dataclass(slots=True)
class Clip:
    """grid: of its frames; maps: of the same size; seen: (D,) sum of the frames' mean visual
    tokens; count: frames; picture: the maps as one picture, None until asked for."""

    grid: tuple[int, int, int]
    seen: Tensor
    maps: list[VisualTokens] = field(default_factory=list)
    count: int = 0
    picture: VisualTokens | None = None

    @property
    def middle(self) -> VisualTokens:
        return self.maps[len(self.maps) // 2]

    @property
    def cost(self) -> int:
        """Slots its picture takes."""
        rows = sum(len(m.embeds) for m in self.maps)
        return rows + len(self.middle.before) + len(self.middle.after)

    def shown(self) -> VisualTokens:
        """All maps as one picture, with the time and words of the middle one."""
        if self.picture is None:
            self.picture = stacked(self.maps, self.middle)
        return self.picture


@dataclass
class ClipBank(TokenBank):
    """Our inference: the clip being seen can be chosen too; the recent whole frames take half of
    the budget at most; over budget, of the two neighbouring clips most alike the older leaves."""

    recent: int = 4    # whole frames that end every answer's cache
    length: int = 16   # frames of a clip
    _clips: list[Clip] = field(default_factory=list, init=False, repr=False)
    _recent: list[VisualTokens] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "recent", 1, 1000)
        check_setting(self, "length", 1, 1000)

    def add(self, maps: list[VisualTokens], count: int, tokens: VisualTokens) -> None:
        """Bring a frame into the maps of a clip of `count` frames, in place."""
        raise NotImplementedError

    def size(self) -> int:
        """Tokens of the bank."""
        return total(self._recent) + sum(clip.cost for clip in self._clips)

    def take(self, tokens: VisualTokens, look: Tensor) -> None:
        self._recent = within([*self._recent, tokens][-self.recent :], self.budget // 2)
        mean, last = tokens.embeds.float().mean(0), self._clips[-1] if self._clips else None
        if last is None or last.count >= self.length or last.grid != tokens.grid:
            self._clips.append(last := Clip(tokens.grid, torch.zeros_like(mean)))
        self.add(last.maps, last.count, tokens)
        last.seen, last.count, last.picture = last.seen + mean, last.count + 1, None
        while self._clips and self.size() > self.budget:
            del self._clips[self._most_alike()]

    def looks(self) -> Tensor:
        """(C, D) the clips' mean visual tokens."""
        return torch.stack([clip.seen / clip.count for clip in self._clips])

    def _most_alike(self) -> int:
        return int(adjacent_cosine(self.looks()).argmax()) if len(self._clips) > 1 else 0

    def likeness(self, question: str, looks: Tensor) -> Tensor:
        """(C,) cosine of each clip's look (C, D) with the mean of the question's words."""
        words = words_of(self.model, question).mean(0).to(looks)
        return F.cosine_similarity(looks, words[None], dim=-1)

    def recalled(self, scores: Tensor, places: Sequence[int]) -> list[VisualTokens]:
        """These clips and the recent frames, in order of time."""
        best = sorted(places, key=lambda i: -float(scores[i]))
        self._found = [(self._clips[i].middle.frame, float(scores[i])) for i in best]
        pictures = [self._clips[i].shown() for i in places]
        return with_newest([*pictures, *self._recent], self._newest)
