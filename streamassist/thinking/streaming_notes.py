"""Video Streaming Thinking by prompting: notes are text, the earlier ones are read with each.

arXiv 2603.12262 trains Qwen2.5-VL to think about every clip: its visual tokens and a queue of
earlier thoughts give a new thought, and an answer is given on thoughts and the last clip. Here an
unmodified model is asked for only what is new, and not to answer yet. What a clip's frames are
after that is the memory policy's affair.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from streamassist.cache import KVCache
from streamassist.memory.question import when
from streamassist.thinking.base import Noted, NoteTaking
from streamassist.types import Role

FIRST = "Note in one short sentence what is happening. Do not answer any question yet."
NEXT = "Notes so far: {notes} Note in one short sentence only what is new. Do not answer yet."


@dataclass
class StreamingNotes(NoteTaking):
    """Our inference: the prompt; a clip of more frames than the model reads at once is thinned out
    evenly; with a question go the newest notes, those nearest to a time that it names, up to
    `budget` tokens."""

    def prompt(self) -> str:
        lines = [note.line for note in self._fitting(self.notes[::-1])]
        return NEXT.format(notes=" ".join(lines)) if lines else FIRST

    def desk(self, cache: KVCache, since: float) -> KVCache:
        return clip_of(cache, since, self.model.frames_at_once)

    def context(self, question: str) -> list[str]:
        return [note.line for note in self.read(question)]

    def read(self, question: str) -> Sequence[Noted]:
        if not self.helps(question):
            return []
        at = when(question, self._now).at
        best = sorted(self.notes, key=lambda n: -n.t if at is None else abs(n.t - at))
        return self._fitting(best)

    def _fitting(self, best: Sequence[Noted]) -> list[Noted]:
        """Of notes, best first, as many as the budget holds; in order of time."""
        chosen, left = [], self.budget
        for note in best:
            left -= len(self.model.encode_text(note.line))
            if left < 0:
                break
            chosen.append(note)
        return sorted(chosen)


def clip_of(cache: KVCache, since: float, most: int) -> KVCache:
    """A copy of the prompt and at most `most` of the frames of stream time `since` and later; the
    cache itself where it holds none, or where its layers hold different ones."""
    used = cache.used()
    seen = (used.role == Role.VISUAL) & (used.pts >= since)
    held = used.frame[seen].unique()
    if cache.layered or not len(held):
        return cache
    last = len(held) - 1   # counted from the newest, which is there even when it is the only one
    spread = last - torch.linspace(0, last, min(len(held), most)).round().long()
    clip = cache.opening()
    clip.insert(cache.copy_out((seen & torch.isin(used.frame, held[spread])).nonzero()[:, 0]))
    return clip
