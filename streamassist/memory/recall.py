"""recall, our own: clean recent frames, a store of unlike frames, and a gate before looking back.

The stream's cache is `last_n`: nothing old disturbs what is on screen now (the finding of
SimpleStream, arXiv 2604.02317). Frames that leave it become pages of a store, thinned out, in RAM
and, where a folder is given, on disk; when it is full, the page most like another one goes, so what
was unusual stays for hours. A page is read anew on the prompt alone before it is stored: as the
stream read it, it is full of what was on screen before and hardly tells its own.

A question looks back when its words ask about the past, or when they do not tell and the model is
unsure of its first word on the recent frames alone (normalised entropy). Pages and recent frames
are ranked by the question's words against their visual tokens in the embedding space and by the
nearness to a time that the question names. Of the pages most like the things asked about the model
is then asked, one by one, whether the thing is there: that decides which is the evidence, and
whether anything supports an answer. A question without things ranks by its queries against the
pages' keys as well (ReKV, arXiv 2503.00540). The answer is given on the prompt, the best page and a
few of the newest frames, among which it is not lost (on one page alone where the model reads no
more); a recent frame may be that page. No labels; the weights and thresholds are ours
(docs/results.md).
"""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import (
    MAX_TOKENS,
    MemoryPolicy,
    check_setting,
    drop_frames,
    drop_since,
    frame_sizes,
    oldest_until,
)
from streamassist.memory.page_index import PageIndex
from streamassist.memory.question import When, when
from streamassist.memory.search import SEEN, Candidate, Found, Search
from streamassist.pages import UNBOUNDED, PageStore
from streamassist.pages.cold import COLD
from streamassist.pages.files import Page
from streamassist.slots import Block, joined
from streamassist.types import Role, VisualTokens
from streamassist.visual import look_of

MOST_TOLD = 3            # pages named as evidence
MOST_PAGES = 4096        # in all tiers: what finds them is in RAM
ROOM_ON_DISK = 0.9       # of the quota; the rest is for the pages on their way

Marks = Mapping[str, Tensor]


@dataclass
class Recall(MemoryPolicy):
    any_slots: ClassVar[bool] = True
    budget: int = 512        # tokens an answer reads, the prompt and the question not counted
    recent: int = 16         # frames
    beside: int = 4          # newest frames that are read beside pages
    stored: int = 4096       # tokens of pages in RAM
    kept: float = 1.0        # share of a frame's tokens that its page keeps
    pages: int = 1           # most pages brought back for a question
    unsure: float = 0.5      # entropy of the first word, 0..1, from which it looks back
    _store: PageStore = field(init=False, repr=False)
    _index: PageIndex = field(init=False, repr=False)
    _tokens: dict[int, VisualTokens] = field(init=False, repr=False)   # of the recent frames
    _found: list[tuple[int, float]] = field(init=False, repr=False)
    _supported: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("budget", 1, MAX_TOKENS), ("recent", 1, 1000), ("beside", 0, 1000),
            ("stored", 0, MAX_TOKENS), ("kept", 0.01, 1), ("pages", 1, 1000), ("unsure", 0, 1),
        ):
            check_setting(self, name, least, most)
        self._store = PageStore(UNBOUNDED)   # the tokens are counted here
        self._clear()

    def _clear(self) -> None:
        self._index, self._tokens, self._found, self._supported = PageIndex(), {}, [], True

    def reset(self) -> None:
        self._store.reset()
        self._clear()

    def use_disk(self, folder: Path, disk_bytes: int) -> None:
        """What exceeds `stored` goes to the folder, in 8 bits; what it holds is part of memory."""
        self._store = PageStore(UNBOUNDED, disk_bytes, folder, COLD, ram_tokens=self.stored)
        for i, page in self._store.pages().items():
            if "look" in page.marks and "unit" in page.marks:
                self._index.add(i, page.marks["look"])
            else:   # not of this program, or of another version
                self._store.remove(i)

    @property
    def fault(self) -> str:
        return self._store.fault

    def forget(self, cache: KVCache, since: float) -> None:
        drop_since(cache, since)
        self._store.forget(since)
        self._index.keep_only(self._store.pages())
        self._tokens = {frame: tokens for frame, tokens in self._tokens.items()
                        if tokens.pts < since}
        self._found, self._supported = [], True

    # ------------------------------------------------------------ watching

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        self._tokens[tokens.frame] = tokens

    def after_prefill(self, cache: KVCache) -> None:
        held, counts = frame_sizes(cache)
        newest, sizes = held[-self.recent :], counts[-self.recent :]
        room = self.budget - max(sizes, default=0)   # a page shall fit beside them
        crowd = oldest_until(newest, sizes, sum(sizes) - room)
        old = [frame for frame in held if frame not in newest or frame in crowd]
        for frame in old:
            self._keep(cache, frame)
        drop_frames(cache, set(old))
        while self._too_much():
            gone = self._index.most_redundant()
            self._index.remove(gone)
            self._store.remove(gone)

    def _keep(self, cache: KVCache, frame: int) -> None:
        """A frame that leaves the cache becomes a page, unless it would be the first to go."""
        marks = marks_of(self._tokens[frame])
        full = not self._store.folder and self._store.tokens >= self.stored
        if not (full and self._index.would_go(marks["look"])):
            block = self._alone(cache, frame)
            count = max(1, round(self.kept * len(block.slots)))
            spread = torch.linspace(0, len(block.slots) - 1, count).round().long()
            if (i := self._store.put(block.select(spread), marks=marks)) is not None:
                self._index.add(i, marks["look"])
        del self._tokens[frame]

    def _block(self, cache: KVCache, frame: int) -> Block:
        """A copy of a frame as the stream read it."""
        used = cache.used()
        return cache.copy_out(
            ((used.frame == frame) & (used.role == Role.VISUAL)).nonzero()[:, 0]
        )

    def _alone(self, cache: KVCache, frame: int) -> Block:
        """A recent frame as it reads on the prompt alone, where the cache has it; as the stream
        read it where the cache holds other slots of it than it brought (reducers that edit the
        cache)."""
        seen, alone = self._block(cache, frame), cache.opening()
        chunk = self.model.frame_chunk(self._tokens[frame], alone.next_position)
        self.model.forward(chunk, alone)
        own = self._block(alone, frame)
        return Block(own.raw, own.value, seen.slots) if len(own.slots) == len(seen.slots) else seen

    def _too_much(self) -> bool:
        if not len(self._index):
            return False
        if len(self._index) != len(self._store):   # a fault took a page, or the disk is full
            self._index.keep_only(self._store.pages())
        if len(self._index) > MOST_PAGES:
            return True
        store = self._store
        if store.folder:
            return store.bytes()["disk"] > ROOM_ON_DISK * store.disk_bytes
        return store.tokens > self.stored

    def held_frames(self) -> set[int]:
        return {frame for page in self._store.pages().values() for frame in page.frames}

    # ------------------------------------------------------------ answering

    def before_answer(self, cache: KVCache, question: str) -> KVCache:
        self._found, self._supported = [], True
        asked = when(question, (cache.time_span() or (0.0, 0.0))[1])
        if not len(self._store) or not self._looks_back(cache, question, asked):
            return cache
        pages = [Candidate(page, i) for i, page in self._store.pages().items()]
        recent = [self._recent(cache, frame) for frame in cache.frames() if frame in self._tokens]
        search = Search(self.model, cache, question, asked, [*pages, *recent], self._fetch)
        verified, several = search.verified(), self.model.frames_at_once > 1
        self._supported = search.supported
        newest = recent[len(recent) - min(self.beside, len(recent)) :] if several else []
        if verified and verified[0][0] in newest:   # what is on screen needs no page
            self._tell(verified)
            return cache
        room = self._room([*pages, *recent], newest) if several else 1
        found = [*verified, *search.ranked(room + len(verified) + len(newest))]
        best = [at for at in dict.fromkeys(at for at, _ in found) if at not in newest][:room]
        if not best:   # faults of the disk took them
            return cache
        self._tell(verified or found[:1])
        return self._read(cache, best, newest)

    def _read(
        self, cache: KVCache, pages: Sequence[Candidate], newest: Sequence[Candidate]
    ) -> KVCache:
        """The prompt, the pages in order of time, the newest frames."""
        for at in pages:
            if at.id is None:
                at.block = self._alone(cache, at.page.frames[0])
        answer = cache.opening()
        blocks = sorted(pages, key=lambda at: at.page.first)
        answer.insert(joined([at.block for at in (*blocks, *newest)]))
        return answer

    def _tell(self, verified: Found) -> None:
        """The best, and others that show a thing as well."""
        shown = [verified[0], *(found for found in verified[1:] if found[1] >= SEEN)]
        self._found = [(at.page.frames[0], score) for at, score in shown[:MOST_TOLD]]

    def _recent(self, cache: KVCache, frame: int) -> Candidate:
        block = self._block(cache, frame)
        return Candidate(Page.of(block, marks=marks_of(self._tokens[frame])), None, block)

    def _room(self, seen: Sequence[Candidate], beside: Sequence[Candidate]) -> int:
        """How many of these an answer reads beside the newest, within the budget."""
        left = self.budget - sum(at.page.tokens for at in beside)
        return max(1, min(self.pages, left // max(at.page.tokens for at in seen)))

    def _fetch(self, i: int) -> Block | None:
        return next((block for _, block in self._store.get([i])), None)

    def _looks_back(self, cache: KVCache, question: str, asked: When) -> bool:
        if asked.past is not None:
            return asked.past
        size = cache.size
        chunk = self.model.text_chunk(
            self.model.question_ids(question), cache.next_position, Role.BRANCH, 0.0
        )
        try:
            chances = self.model.forward(chunk, cache).softmax(-1)
        finally:
            cache.truncate(size)
        entropy = torch.special.entr(chances).sum() / math.log(len(chances))
        return float(entropy) >= self.unsure

    def oldest(self) -> float | None:
        return min((page.first for page in self._store.pages().values()), default=None)

    def supported(self) -> bool:
        return self._supported

    def bytes(self) -> dict[str, int]:
        """Of the pages in each tier, and of what finds them."""
        return self._store.bytes()

    def evidence(self) -> list[tuple[int, float]]:
        return self._found


def marks_of(tokens: VisualTokens) -> Marks:
    """What a page is found by: its look (F,), and its visual tokens (N, D), all of length 1."""
    unit = F.normalize(tokens.embeds.float(), dim=-1)
    return {"look": look_of(tokens).cpu(), "unit": unit.bfloat16().cpu()}
