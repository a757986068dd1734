"""recall, our own: clean recent frames, a store of unlike frames, and a gate before looking back.

The stream's cache is `last_n`: nothing old disturbs what is on screen now (the finding of
SimpleStream, arXiv 2604.02317). Frames that leave it become pages of a store, thinned out, in RAM
and, where a folder is given, on disk; when it is full, the page most like another one goes, so what
was unusual stays for hours. A question looks back when its words ask about the past, or when they
do not tell and the model is unsure of its first word on the recent frames alone (normalised
entropy). Pages and recent frames are ranked by the question's words against their visual tokens in
the embedding space and by the nearness to a time that the question names. Of the pages most like
the things asked about the model is then asked, one by one, whether the thing is there: that decides
which is the evidence, and whether anything supports an answer. A question without things ranks by
its queries against the pages' keys as well (ReKV, arXiv 2503.00540). Where a recent frame is the
best, the answer is given on the stream's cache; else on the prompt, the best page and a few of the
newest frames, among which it is not lost (on one page alone where the model reads no more). No
labels; the weights and thresholds are ours (docs/results.md).
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
    question_queries,
)
from streamassist.memory.page_index import PageIndex
from streamassist.memory.question import When, content_words, things_in, when
from streamassist.pages import UNBOUNDED, PageStore
from streamassist.pages.cold import COLD
from streamassist.pages.files import Page
from streamassist.scoring import relevance, standard
from streamassist.slots import Block, joined
from streamassist.types import Role, VisualTokens
from streamassist.visual import look_of

WORDS_WEIGH = 4.0        # against the queries
SEEN = 3.0               # least score of a verified page; measured with nano (docs/results.md)
MOST_THINGS, PROBES = 4, 3   # of a question; probes to tell their pages apart
FAR = 4.0                # what as far as a time may lie from the one asked about costs
MOST_PAGES = 4096        # in all tiers: what finds them is in RAM
ROOM_ON_DISK = 0.9       # of the quota; the rest is for the pages on their way

Marks = Mapping[str, Tensor]


@dataclass(slots=True, eq=False)
class Candidate:
    """A page that an answer may read, or a recent frame (without id); its block once fetched."""
    page: Page
    id: int | None
    block: Block | None = None


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
    _marks: dict[int, Marks] = field(init=False, repr=False)   # of the recent frames
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
        self._index, self._marks, self._found, self._supported = PageIndex(), {}, [], True

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
        self._marks = {frame: self._marks[frame] for frame in cache.frames()}
        self._found, self._supported = [], True

    # ------------------------------------------------------------ watching

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        look = look_of(tokens)
        unit = F.normalize(tokens.embeds.float(), dim=-1)
        self._marks[tokens.frame] = {"look": look.cpu(), "unit": unit.bfloat16().cpu()}

    def after_prefill(self, cache: KVCache) -> None:
        held, counts = frame_sizes(cache)
        newest, sizes = held[-self.recent :], counts[-self.recent :]
        room = self.budget - max(sizes, default=0)   # a page shall fit beside them
        crowd = oldest_until(newest, sizes, sum(sizes) - room)
        old = [frame for frame in held if frame not in newest or frame in crowd]
        for frame in old:
            marks = self._marks.pop(frame)
            i = self._store.put(self._block(cache, frame, self.kept), marks=marks)
            if i is not None:
                self._index.add(i, marks["look"])
        drop_frames(cache, set(old))
        while self._too_much():
            gone = self._index.most_redundant()
            self._index.remove(gone)
            self._store.remove(gone)

    def _block(self, cache: KVCache, frame: int, share: float = 1.0) -> Block:
        """A copy of a frame, or of a share of its slots, spread evenly."""
        used = cache.used()
        mine = ((used.frame == frame) & (used.role == Role.VISUAL)).nonzero()[:, 0]
        count = max(1, round(share * len(mine)))
        return cache.copy_out(mine[torch.linspace(0, len(mine) - 1, count).round().long()])

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
        recent = [self._recent(cache, frame) for frame in cache.frames() if frame in self._marks]
        verified = self._verified(cache, question, asked, [*pages, *recent])
        more = self.model.frames_at_once - 1   # than one page
        if more and verified and verified[0][0] in recent:
            self._tell(verified[: self.pages])
            return cache
        newest = recent[len(recent) - min(self.beside, more, len(recent)) :]
        room = self._room(pages if more else recent or pages, newest)
        best = [found for found in verified if found[0] not in newest][:room]
        if len(best) < room:
            ranked, known = self._ranked(cache, question, asked, pages, room), [x[0] for x in best]
            best = best + [found for found in ranked if found[0] not in known][: room - len(best)]
        if not best:   # faults of the disk took them
            return cache
        self._tell(best)
        blocks = sorted((at for at, _ in best), key=lambda at: at.page.first)
        answer = cache.opening()
        answer.insert(joined([at.block for at in (*blocks, *newest)]))
        return answer

    def _tell(self, best: Sequence[tuple[Candidate, float]]) -> None:
        self._found = [(at.page.frames[0], score) for at, score in best]

    def _recent(self, cache: KVCache, frame: int) -> Candidate:
        block = self._block(cache, frame)
        return Candidate(Page.of(block, marks=self._marks[frame]), None, block)

    def _room(self, seen: Sequence[Candidate], beside: Sequence[Candidate]) -> int:
        """How many of these an answer reads, beside the newest: within the budget, and no more than
        the model can."""
        left = self.budget - sum(at.page.tokens for at in beside)
        fit = left // max(at.page.tokens for at in seen)
        return max(1, min(self.pages, self.model.frames_at_once - len(beside), fit))

    def _fetch(self, scores: Tensor, seen: Sequence[Candidate], count: int) -> list[int]:
        """Places of the best that can be had, best first; their blocks are there then."""
        best: list[int] = []
        for row in scores.argsort(descending=True).tolist():
            if len(best) == count:
                break
            at = seen[row]
            if at.block is None:
                at.block = next((block for _, block in self._store.get([at.id])), None)
            if at.block is not None:
                best.append(row)
        return best

    def _verified(
        self, cache: KVCache, question: str, asked: When, seen: Sequence[Candidate]
    ) -> list[tuple[Candidate, float]]:
        """The pages most like the things asked about, best first by what the model says of each
        page alone: the log odds that the thing is there, and half of how far the page stands out.
        Nothing where the question names no thing."""
        things, scores = things_in(question)[:MOST_THINGS], {}
        if not things:
            return []
        words = [content_words(thing) for thing in things]
        likeness = standard(self._likeness(sum(words, []), [at.page for at in seen]))
        alone, costs = cache.opening(), self._time_costs(asked, seen)
        for thing, mine in zip(things, likeness.split([len(w) for w in words]), strict=True):
            ranks = mine.mean(0)
            for row in self._fetch(ranks + costs, seen, max(1, PROBES // len(things))):
                alone.truncate(alone.num_pinned)
                alone.insert(seen[row].block)
                chance = self.model.probe(f"There is {thing}.", alone, 0.0)
                score = math.log((chance + 1e-6) / (1 - chance + 1e-6)) + float(ranks[row]) / 2
                scores[row] = max(score, scores.get(row, score))
        best = sorted(((seen[row], score) for row, score in scores.items()), key=lambda x: -x[1])
        self._supported = not best or best[0][1] >= SEEN
        return best

    def _ranked(
        self, cache: KVCache, question: str, asked: When, seen: Sequence[Candidate], room: int
    ) -> list[tuple[Candidate, float]]:
        """By words, queries and time."""
        pages = [at.page for at in seen]
        keys = torch.stack([page.key for page in pages], 2)
        queries = question_queries(self.model, cache, question).cpu()
        total = standard(relevance(queries, keys)).mean(0) + self._time_costs(asked, seen)
        if (words := content_words(question)):
            total = total + WORDS_WEIGH * standard(self._likeness(words, pages)).mean(0)
        return [(seen[row], float(total[row])) for row in self._fetch(total, seen, room)]

    def _time_costs(self, asked: When, seen: Sequence[Candidate]) -> Tensor:
        """(P,) 0 where the question names no time, else less the farther a page is from it."""
        pts = torch.tensor([at.page.first for at in seen])
        if asked.at is None:
            return torch.zeros(len(pts))
        return -FAR * ((pts - asked.at).abs() / asked.within).clamp(max=4)

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

    def _likeness(self, words: Sequence[str], pages: Sequence[Page]) -> Tensor:
        """(W, P) cosine of each word with the most alike visual token of each page."""
        rows = torch.stack([
            self.model.embed_text(self.model.encode_text(" " + word)).float().mean(0).cpu()
            for word in words
        ])
        rows = F.normalize(rows, dim=-1)
        units = [page.marks["unit"] for page in pages]
        each = (torch.cat(units).float() @ rows.T).split([len(unit) for unit in units])
        return torch.stack([likeness.amax(0) for likeness in each], 1)

    def oldest(self) -> float | None:
        return min((page.first for page in self._store.pages().values()), default=None)

    def supported(self) -> bool:
        return self._supported

    def bytes(self) -> dict[str, int]:
        """Of the pages in each tier, and of what finds them."""
        return self._store.bytes()

    def evidence(self) -> list[tuple[int, float]]:
        return self._found
