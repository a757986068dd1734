"""Goldfish's text memory: clips that are over are remembered as a description, chosen by words.

arXiv 2407.12679: clips of about 90 s are described by a short-video model, the descriptions most
like the question (cosine, three of them) are what the answer is given on. What a description leaves
out is lost.
"""
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.banks import words_of
from streamassist.memory.base import (
    MAX_TOKENS,
    MemoryPolicy,
    check_setting,
    drop_frames,
    drop_since,
    frame_sizes,
    oldest_until,
)
from streamassist.slots import Block, joined
from streamassist.types import Role, VisualTokens


@dataclass(frozen=True, slots=True, eq=False)
class Note:
    """What was said of a clip; ids: its words, the time before them; look: (D,) their mean."""

    start: float
    end: float
    frame: int
    ids: list[int]
    look: Tensor


@dataclass
class Goldfish(MemoryPolicy):
    """Our inference: the answer reads the frames that the stream's cache still holds behind the
    descriptions, and no description of what is among them; a description is of as many frames,
    spread over the clip, as the model reads at once; likeness is that of the mean word in the
    model's own embedding space, instead of a sentence encoder's; subtitles are not indexed and
    clips not watched again; the oldest description leaves when there are too many."""

    budget: int = 512       # tokens that an answer reads: descriptions and frames
    clip_s: float = 90.0    # of a clip
    frames: int = 8         # of a clip that are described, at most
    longest: int = 40       # tokens of a description
    best: int = 3           # descriptions read
    notes: int = 1000       # held at most: 25 hours of clips of 90 s
    _clip: list[VisualTokens] = field(default_factory=list, init=False, repr=False)
    _start: float | None = field(default=None, init=False, repr=False)   # of the running clip
    _end: float = field(default=0.0, init=False, repr=False)   # its newest frame
    _stride: int = field(default=1, init=False, repr=False)   # of frames, every so many are held
    _count: int = field(default=0, init=False, repr=False)    # frames of the running clip
    _notes: list[Note] = field(default_factory=list, init=False, repr=False)
    _found: list[tuple[int, float]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("budget", 1, MAX_TOKENS), ("clip_s", 0.1, 3600), ("frames", 1, 1000),
            ("longest", 1, 1000), ("best", 1, 1000), ("notes", 1, 100_000),
        ):
            check_setting(self, name, least, most)

    def reset(self) -> None:
        self._notes, self._found = [], []
        self._begin(None)

    def _begin(self, start: float | None) -> None:
        self._clip, self._start, self._stride, self._count = [], start, 1, 0

    # ------------------------------------------------------------ watching

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        if self._start is not None and tokens.pts >= self._start + self.clip_s:
            self._notes = [*self._notes, self._describe(cache)][-self.notes :]
            self._start = None
        if self._start is None:
            self._begin(tokens.pts)
        if self._count % self._stride == 0:
            self._clip.append(tokens)
        self._count, self._end = self._count + 1, tokens.pts
        if len(self._clip) > 2 * self.frames:   # every other one: still spread over the clip
            self._clip, self._stride = self._clip[::2], 2 * self._stride

    def after_prefill(self, cache: KVCache) -> None:
        room = self.budget - self.best * self.longest
        drop_frames(cache, oldest_until(*frame_sizes(cache), len(cache) - room))

    def _describe(self, cache: KVCache) -> Note:
        """The running clip in words, greedily."""
        model, alone = self.model, cache.opening()
        count = min(len(self._clip), self.frames, model.frames_at_once)
        places = torch.linspace(0, len(self._clip) - 1, count).round().long().tolist()
        for i in places:
            model.forward(model.frame_chunk(self._clip[i], alone.next_position), alone)
        said, ids = [], model.question_ids(model.describe_prompt)
        while len(said) < self.longest:
            chunk = model.text_chunk(ids, alone.next_position, Role.BRANCH, self._end)
            token = int(model.forward(chunk, alone).argmax())
            if token in model.stop_ids:
                break
            said.append(token)
            ids = [token]
        words = f"{_clock(self._start)} {model.detokenize(said).strip()}\n"
        middle = self._clip[len(self._clip) // 2].frame
        return Note(self._start, self._end, middle, model.encode_text(words)[: self.longest],
                    words_of(model, words).mean(0).cpu())

    # ------------------------------------------------------------ answering

    def before_answer(self, cache: KVCache, question: str) -> KVCache:
        self._found = []
        span = cache.time_span()
        old = [note for note in self._notes if span is None or note.end < span[0]]
        if not old:
            return cache
        asked = words_of(self.model, question).mean(0).cpu()
        scores = F.cosine_similarity(torch.stack([note.look for note in old]), asked[None])
        best = scores.topk(min(self.best, len(old))).indices.tolist()
        self._found = [(old[i].frame, float(scores[i])) for i in best]
        frames = cache.copy_out(torch.arange(cache.num_pinned, cache.size))
        blocks = self._read(cache, [old[i] for i in sorted(best)])
        answer = cache.opening()
        answer.insert(joined([*blocks, frames]))
        return answer

    def _read(self, cache: KVCache, notes: Sequence[Note]) -> list[Block]:
        """The words of some descriptions, read one behind the other, each as one chunk: as old as
        the frames that were dropped just before the ones that are still there."""
        model, alone, blocks = self.model, cache.opening(), []
        oldest = int(cache.in_use().group[0, cache.num_pinned]) if len(cache) else len(notes)
        for i, note in enumerate(notes):
            start, size = alone.next_position, alone.size
            chunk = model.text_chunk(note.ids, start, Role.TEXT, note.start)
            model.forward(chunk, alone)
            block = alone.copy_out(torch.arange(size, alone.size))
            block.slots.group[:] = oldest - len(notes) + i
            block.slots.base[:], block.slots.span[:] = start, len(note.ids)
            blocks.append(block)
        return blocks

    def evidence(self) -> list[tuple[int, float]]:
        return self._found

    def held_frames(self) -> set[int]:
        return {note.frame for note in self._notes}

    def oldest(self) -> float | None:
        return min((note.start for note in self._notes), default=None)

    def bytes(self) -> dict[str, int]:
        held: dict[str, Any] = super().bytes()
        held["ram"] += 8 * sum(len(note.ids) for note in self._notes)
        return held

    def forget(self, cache: KVCache, since: float) -> None:
        """Descriptions of clips that go on into what is forgotten go with it."""
        drop_since(cache, since)
        self._notes = [note for note in self._notes if note.end < since]
        self._clip = [tokens for tokens in self._clip if tokens.pts < since]
        self._found = []
        self._end = min(self._end, max((tokens.pts for tokens in self._clip), default=0.0))
        if not self._clip:
            self._begin(None)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"At {minutes // 60}:{minutes % 60:02}:{seconds:02}:"
