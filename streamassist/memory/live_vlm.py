"""LiveVLM: what new frames look at, spread over all of the past; questions look up its pages."""
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import MAX_TOKENS, check_setting, question_queries
from streamassist.memory.scored import Tracked, by_layer, last_slots, mask_of, newest
from streamassist.scoring import attention_mass, min_max, relevance, top_slots


@dataclass
class LiveVLM(Tracked):
    """LiveVLM, arXiv 2505.15269 version 2: the newest frames stay whole. Of the older tokens, M in
    number, first those stay that the newest frame's queries attend to most; then, by falling
    attention, each whose bucket, one of M equal parts of the past, is still empty. A question
    reads, in each layer, the newest frames and the 40 % of the pages of 16 old tokens whose mean
    raw key has the largest dot product with its mean raw query.

    Our inference: half of M is chosen by attention alone; attention is averaged over heads; buckets
    divide the tokens that have arrived; places that empty buckets leave go to the next by
    attention; old tokens short of a page are read with the newest. The paper gives recalled keys
    their original positions; here they follow each other in order of time, as the original ones
    outgrow what the model was trained for.
    """

    frame_queries = True
    short: float = 0.25    # share of the budget for the newest frames
    lead: float = 0.5      # share of the older tokens chosen by attention alone
    page: int = 16         # tokens
    read: float = 0.4      # share of the pages that a question reads
    _found: list[tuple[int, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_setting(self, "short", 0, 1)
        check_setting(self, "lead", 0, 1)
        check_setting(self, "page", 1, MAX_TOKENS)
        check_setting(self, "read", 0, 1)
        super().__post_init__()

    def reset(self) -> None:
        super().reset()
        self._found = []

    def evidence(self) -> list[tuple[int, float]]:
        return self._found

    def _window(self, cache: KVCache, room: int) -> int:
        return newest(cache, min(room, int(self.short * self.budget)))

    # ------------------------------------------------------------ what stays

    def choose(self, cache: KVCache, room: int) -> Tensor:
        window, start = self._window(cache, room), int(cache.used().base[-1])
        attention = attention_mass(cache, self.queries, start).mean(1).double().cpu()
        old, count = len(cache) - window, room - window
        tier = 4.0 * by_layer(last_slots(cache, window), cache)   # attention is at most 1
        tier[:, :old] += tiers(
            attention[:, :old], by_layer(self._arrival, cache)[:, :old], count, self.lead
        )
        return top_slots(tier + attention, room)

    # ------------------------------------------------------------ what a question reads

    def before_answer(self, cache: KVCache, question: str) -> KVCache:
        self._found = []
        pages = (len(cache) - self._window(cache, len(cache))) // self.page
        if not cache.layered or not pages:   # nothing has been compressed yet
            return cache
        old = pages * self.page
        raw = cache.raw[:, :, cache.num_pinned : cache.num_pinned + old].float()
        means = raw.unflatten(2, (pages, self.page)).mean(3)
        score = relevance(question_queries(self.model, cache, question), means).cpu()
        chosen = top_slots(score, max(1, round(self.read * pages)))
        self._found = self._evidence(cache, score, chosen)
        answer = cache.opening()
        answer.insert(cache.copy_out(torch.arange(cache.num_pinned, cache.size)))
        answer.keep_by_layer(self._slots(chosen, old, len(cache)))
        answer.renumber(ranks=True)
        return answer

    def _slots(self, pages: Tensor, old: int, total: int) -> Tensor:
        """(L, P) pages -> (L, K) their slots, and all from `old` on."""
        slots = pages[:, :, None] * self.page + torch.arange(self.page)
        return torch.cat((slots.flatten(1), torch.arange(old, total).expand(len(pages), -1)), 1)

    def _evidence(self, cache: KVCache, score: Tensor, chosen: Tensor) -> list[tuple[int, float]]:
        """Recalled frames by the score of their best page, 0..1 in each layer, 0 where it was not
        recalled, the mean over the layers."""
        old = score.shape[1] * self.page
        frame = by_layer(cache.in_use().frame[:, cache.num_pinned :], cache)[:, :old]
        recalled = mask_of(chosen, score.shape[1])
        strength = (min_max(score) * recalled).repeat_interleave(self.page, 1)
        frames, place = frame.unique(return_inverse=True)
        best = torch.zeros(len(score), len(frames)).scatter_reduce(1, place, strength, "amax")
        there = torch.isin(frames, frame[recalled.repeat_interleave(self.page, 1)])
        found = zip(frames[there].tolist(), best.mean(0)[there].tolist(), strict=True)
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def tiers(attention: Tensor, arrival: Tensor, count: int, lead: float) -> Tensor:
    """(L, T): 2 for the best by attention, 1 for the best of each bucket that has none of those.

    count: slots to be kept of these, and buckets; lead: share of them in the first tier.
    """
    first = mask_of(top_slots(attention, round(lead * count)), attention.shape[1])
    span = arrival[:, -1:] - arrival[:, :1] + 1
    bucket = (arrival - arrival[:, :1]) * count // span
    full = torch.zeros(len(bucket), max(1, count)).scatter_reduce(1, bucket, first.float(), "amax")
    other = attention.masked_fill(first, -1.0)
    best = torch.full(full.shape, -1.0, dtype=other.dtype).scatter_reduce(1, bucket, other, "amax")
    second = ~first & (full.gather(1, bucket) == 0) & (other == best.gather(1, bucket))
    return 2.0 * first + second
