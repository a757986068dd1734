"""Which pages a question is about: by its words, its queries, the time it names, and by asking the
model of single pages whether a thing is there."""
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import question_queries
from streamassist.memory.question import When, content_words, things_in
from streamassist.pages.files import Page
from streamassist.scoring import relevance, standard
from streamassist.slots import Block
from streamassist.types import VideoLLM

WORDS_WEIGH = 4.0            # against the queries
SEEN = 3.0                   # least score of a verified page; measured with nano (docs/results.md)
MOST_THINGS, PROBES = 4, 3   # of a question; probes to tell their pages apart
FAR = 4.0                    # what as far as a time may lie from the one asked about costs


@dataclass(slots=True, eq=False)
class Candidate:
    """A page that an answer may read, or a recent frame (without id); its block once fetched.
    The page's marks hold "unit": (N, D) its visual tokens, of length 1."""
    page: Page
    id: int | None
    block: Block | None = None


Found = list[tuple[Candidate, float]]


class Search:
    """One question among some candidates; fetch: brings the block of a page, None when it is lost.

    supported: whether a page was verified to show a thing asked about, or none was asked about.
    """

    def __init__(
        self, model: VideoLLM, cache: KVCache, question: str, asked: When,
        seen: Sequence[Candidate], fetch: Callable[[int], Block | None],
    ):
        self.model, self.cache, self.question, self.seen = model, cache, question, seen
        self.fetch, self.supported = fetch, True
        self._costs = self._time_costs(asked)
        self._things = things_in(question)[:MOST_THINGS]
        self._likeness = self._by_thing() if self._things else None   # (things, P)

    def verified(self) -> Found:
        """The pages most like the things asked about, best first by what the model says of each
        page alone: the log odds that the thing is there, and half of how far the page stands out.
        Nothing where the question names no thing."""
        if not self._things:
            return []
        scores: dict[int, float] = {}
        alone = self.cache.opening()
        for thing, ranks in zip(self._things, self._likeness, strict=True):
            for row in self._best(ranks + self._costs, max(1, PROBES // len(self._things))):
                alone.truncate(alone.num_pinned)
                alone.insert(self.seen[row].block)
                chance = self.model.probe(f"There is {thing}.", alone, 0.0)
                score = math.log((chance + 1e-6) / (1 - chance + 1e-6)) + float(ranks[row]) / 2
                scores[row] = max(score, scores.get(row, score))
        best = sorted(((self.seen[r], score) for r, score in scores.items()), key=lambda x: -x[1])
        self.supported = not best or best[0][1] >= SEEN
        return best

    def ranked(self, count: int) -> Found:
        """So many candidates by likeness to the thing each suits best; where none is named by words
        and by queries against keys (ReKV, arXiv 2503.00540); and by time."""
        total = self._costs + (self._likeness.amax(0) if self._things else self._by_queries())
        return [(self.seen[row], float(total[row])) for row in self._best(total, count)]

    def _best(self, scores: Tensor, count: int) -> list[int]:
        """Places of the best that can be had, best first; their blocks are there then."""
        best: list[int] = []
        for row in scores.argsort(descending=True).tolist():
            if len(best) == count:
                break
            at = self.seen[row]
            if at.block is None:
                at.block = self.fetch(at.id)
            if at.block is not None:
                best.append(row)
        return best

    def _by_thing(self) -> Tensor:
        words = [content_words(thing) for thing in self._things]
        each = standard(self._by_words(sum(words, []))).split([len(w) for w in words])
        return torch.stack([mine.mean(0) for mine in each])

    def _by_queries(self) -> Tensor:
        keys = torch.stack([at.page.key for at in self.seen], 2)
        queries = question_queries(self.model, self.cache, self.question).cpu()
        total = standard(relevance(queries, keys)).mean(0)
        if (words := content_words(self.question)):
            total = total + WORDS_WEIGH * standard(self._by_words(words)).mean(0)
        return total

    def _by_words(self, words: Sequence[str]) -> Tensor:
        """(W, P) cosine of each word with the most alike visual token of each page."""
        rows = torch.stack([
            self.model.embed_text(self.model.encode_text(" " + word)).float().mean(0).cpu()
            for word in words
        ])
        rows = F.normalize(rows, dim=-1)
        units = [at.page.marks["unit"] for at in self.seen]
        each = (torch.cat(units).float() @ rows.T).split([len(unit) for unit in units])
        return torch.stack([likeness.amax(0) for likeness in each], 1)

    def _time_costs(self, asked: When) -> Tensor:
        """(P,) 0 where the question names no time, else less the farther a page is from it."""
        pts = torch.tensor([at.page.first for at in self.seen])
        if asked.at is None:
            return torch.zeros(len(pts))
        return -FAR * ((pts - asked.at).abs() / asked.within).clamp(max=4)
