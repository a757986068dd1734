"""StreamKV: scenes of the past, each reduced to its telling frames and their mean."""
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import check_setting, question_queries
from streamassist.memory.retrieval import Retrieval
from streamassist.memory.store import Page
from streamassist.scoring import relevance, top_slots
from streamassist.types import VisualTokens

GUIDANCE = "What people, objects, actions, places, written words and changes can be seen?"
SHORTEST = 4   # frames of a segment


@dataclass
class StreamKV(Retrieval):
    """StreamKV, arXiv 2511.07278: the stream is cut into segments of 4 to 64 frames where the mean
    features of neighbours have a cosine under 0.99; one that grows longer averages its two most
    alike neighbours. A guidance prompt scores the frames of a finished segment, 0.6 of them are
    dropped, and a summary (the mean of all) is added that is never dropped. Questions recall
    frames as in ReKV; the newest are always read.

    Our inference: 0.6 is the share dropped; the guidance's wording; layers keep the same frames,
    by the mean of their softmax over frame scores (the paper gives each layer its own number);
    the summary takes the place of the last frame dropped; likeness in a long segment is that of
    mean raw keys; the store has a cap and forgets summaries last.
    """

    boundary: float = 0.99   # cosine
    dropped: float = 0.6     # share of a segment's frames
    longest: int = 64        # frames of a segment
    _look: Tensor | None = field(init=False, repr=False)   # (F,) mean feature of the last frame
    _starts: set[int] = field(init=False, repr=False)      # frames that look new
    _open: list[Page] = field(init=False, repr=False)      # the segment that still grows

    def __post_init__(self) -> None:
        check_setting(self, "boundary", -1, 1)
        check_setting(self, "dropped", 0, 1)
        check_setting(self, "longest", SHORTEST, 10_000)
        super().__post_init__()

    def reset(self) -> None:
        super().reset()
        self._look, self._starts, self._open = None, set(), []

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        look, last = tokens.look.float().mean(0), self._look
        if last is not None and F.cosine_similarity(look, last, dim=0) < self.boundary:
            self._starts.add(tokens.frame)
        self._look = look

    def put_away(self, page: Page, cache: KVCache) -> None:
        new = not self._starts.isdisjoint(page.frames)
        self._starts = {frame for frame in self._starts if frame > page.frames[-1]}
        if new and len(self._open) >= SHORTEST:
            self._compress(cache)
        self._open.append(page)
        if len(self._open) > self.longest:
            self._shorten()

    def forgotten(self, pages: list[Page]) -> None:
        self._open = [page for page in self._open if page not in pages]

    def _shorten(self) -> None:
        """Average the two neighbours most alike."""
        older = max(range(len(self._open) - 1), key=lambda i: self._open[i].likeness)
        self._average(self._open[older : older + 2], self._open[older + 1])
        self._store.remove(self._open.pop(older))

    def _compress(self, cache: KVCache) -> None:
        """The open segment is complete: keep the frames that the guidance asks for."""
        segment, self._open = self._open, []
        queries = question_queries(self.model, cache, GUIDANCE)
        scores = relevance(queries, torch.stack([page.mean for page in segment], 2))
        scale = queries.shape[1] * queries.shape[3] ** 0.5   # the mean over heads, as in attention
        share = (scores / scale).softmax(-1).mean(0)
        kept = top_slots(share, max(1, round((1 - self.dropped) * len(segment)))).tolist()
        gone = [page for i, page in enumerate(segment) if i not in kept]
        if gone:
            self._average(segment, gone[-1])
            gone[-1].spared = True
        for page in gone[:-1]:
            self._store.remove(page)

    def _average(self, pages: list[Page], into: Page) -> None:
        self._store.average(pages, into)
        into.key = into.mean
