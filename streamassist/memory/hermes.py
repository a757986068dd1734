"""HERMES: shallow layers remember what is recent, deep ones what matters, the middle both."""
from dataclasses import dataclass

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import check_setting, question_queries
from streamassist.memory.scored import Tracked, by_layer, last_slots, mask_of, newest, refill
from streamassist.scoring import attention_mass, min_max, top_slots

SCENE = "Which objects, people, actions and written words are in the scene now, in detail?"
STORY = "What has happened from the beginning until now, and what mattered most?"
DECAY = (20.0, 0.5)        # k of exp(-k * age), from the first middle layer to the last
RECENCY = (0.75, 0.15)     # its weight, likewise; 1 in shallow layers, 0 in deep ones
SMOOTHING = (0.1, 0.3, 0.4)   # share of the layer above: shallow, middle, deep


@dataclass
class Hermes(Tracked):
    """HERMES, arXiv 2601.14724, section 3: a token's score is w * recency + (1 - w) * attention,
    each scaled to 0..1, where recency is exp(-k * age) and attention that of a guidance prompt
    about the scene and the story (middle layers) or the story (deep ones). The first 10 % of the
    layers have w = 1, the last 30 % w = 0, the middle slides from 0.75 to 0.15 and k from 20 to
    0.5. Scores are smoothed with the layer above (0.1, 0.3, 0.4 by zone), and in deep layers the
    mean of what leaves stays as one summary token for each selection.

    Our inference: the prompts' wording; a token that the layer above no longer has is not
    smoothed; the summary takes the slot of the newest token that leaves (the paper: a new one
    behind the last), so that all layers stay equal; it competes like any other from then on;
    positions are closed up each time; no question is part of the guidance.
    """

    chunk: int = 16          # frames from one selection to the next
    shallow: float = 0.1     # share of the layers
    deep: float = 0.3        # share of the layers
    summary: bool = True

    def __post_init__(self) -> None:
        check_setting(self, "shallow", 0, 1)
        check_setting(self, "deep", 0, 1 - self.shallow)
        super().__post_init__()

    def choose(self, cache: KVCache, room: int) -> Tensor:
        score = smooth(self._score(cache), by_layer(self._arrival, cache), self._zones(cache))
        size = newest(cache)
        stays = last_slots(cache, size)
        kept = top_slots(score, room, stays)
        if self.summary and room > size:
            deep = self._zones(cache) == 2
            kept[deep] = self._summarise(cache, top_slots(score, room - 1, stays), deep)[deep]
        return kept

    def _zones(self, cache: KVCache) -> Tensor:
        """(L,) 0 for shallow layers, 1 for the middle, 2 for deep ones."""
        count = cache.num_layers
        zones = torch.ones(count, dtype=torch.int64)
        zones[: round(self.shallow * count)] = 0
        zones[count - round(self.deep * count) :] = 2
        return zones

    def _score(self, cache: KVCache) -> Tensor:
        """(L, T) recency and attention, weighed for each layer."""
        zones = self._zones(cache)
        pts = by_layer(cache.in_use().pts[:, cache.num_pinned :], cache)
        age = pts[:, -1:] - pts
        age = age / age.amax(1, keepdim=True).clamp(min=1e-9)
        k = _slide(zones, DECAY[0], DECAY, DECAY[1])
        recency = min_max((-k[:, None] * age).exp())
        weight = _slide(zones, 1.0, RECENCY, 0.0)[:, None]
        attention = self._attention(cache, zones).cpu()
        return (weight * recency + (1 - weight) * min_max(attention)).float()

    def _attention(self, cache: KVCache, zones: Tensor) -> Tensor:
        """(L, T) attention of the guidance prompts; 0 in shallow layers, which do not ask."""
        total = torch.zeros(cache.num_layers, len(cache), device=cache.device)
        for zone, prompt in ((1, f"{SCENE} {STORY}"), (2, STORY)):
            if (zones == zone).any():
                mass = attention_mass(cache, question_queries(self.model, cache, prompt)).mean(1)
                total[zones == zone] = mass[zones == zone]
        return total

    def _summarise(self, cache: KVCache, kept: Tensor, deep: Tensor) -> Tensor:
        """Put the mean of what leaves the deep layers into the newest slot of it.

        kept: (L, room - 1) ascending; returns it with that slot, (L, room).
        """
        stays = mask_of(kept, len(cache))
        carrier = (~stays * torch.arange(len(cache))).amax(1, keepdim=True)
        part = slice(cache.num_pinned, cache.size)
        share = (~stays / (~stays).sum(1, keepdim=True)).float().to(cache.device)
        at = (carrier + cache.num_pinned).to(cache.device)[:, None, :, None]
        merged = []
        for buffer in (cache.raw, cache.value):
            mean = torch.einsum("lt,lhtd->lhd", share, buffer[:, :, part].float())[:, :, None]
            own = buffer.gather(2, at.expand(mean.shape)).float()
            merged.append(torch.where(deep.to(cache.device)[:, None, None, None], mean, own))
        refill(cache, carrier, *merged)
        return torch.cat((kept, carrier), 1).sort(1).values


def _slide(zones: Tensor, shallow: float, middle: tuple[float, float], deep: float) -> Tensor:
    """(L,) a value for each zone; the middle goes evenly from one value to another."""
    table = torch.tensor([shallow, 0.0, deep])[zones]
    table[zones == 1] = torch.linspace(*middle, int((zones == 1).sum()))
    return table


def smooth(score: Tensor, arrival: Tensor, zones: Tensor) -> Tensor:
    """Mix each layer's scores (L, T) with those of the same tokens, by `arrival`, one layer up."""
    score = score.clone()
    for layer in range(len(score) - 2, -1, -1):
        above, share = arrival[layer + 1], SMOOTHING[int(zones[layer])]
        at = torch.searchsorted(above, arrival[layer]).clamp(max=len(above) - 1)
        same = above[at] == arrival[layer]
        mixed = (1 - share) * score[layer] + share * score[layer + 1][at]
        score[layer] = torch.where(same, mixed, score[layer])
    return score
