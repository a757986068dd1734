"""Notes as keys and values in a cache of their own, beside the video's (dual cache).

Think While Watching, arXiv 2603.11896, and Think-as-You-See, arXiv 2603.02872, train models to
write a note on each segment of a video. Video goes to the source cache and notes to the target
cache, whose positions count from 0; attention is over both, layer by layer, while a note or an
answer is written, and then they are split again. The writer never writes to the source cache, so
the reader may append frames meanwhile.

Here the target cache is a block of slots outside of the stream's `KVCache`: `put_back` behind the
frames is the merged view and `lift` the split. The words of a note have seen the frames of their
segment, and tell of them when these are gone.
"""
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from streamassist.branch import Turn
from streamassist.slots import Block, Branch, joined
from streamassist.thinking.base import Noted, NoteTaking, clock
from streamassist.types import Role

FOCUS = "Note in one short sentence only what is new here. Do not answer any question yet."


@dataclass
class SegmentNotes(NoteTaking):
    """Our inference, for models that are not trained so: of a note only its words are kept, with
    the time behind them, not what asked for them; the target's positions count from where
    `EngineConfig.branch` lets a branch begin ("group": from the start of the prompt, as in the
    papers), question and answer behind them; a model that was not taught to take notes writes each
    without the others."""

    budget: int = 512    # tokens of notes kept
    _blocks: list[Block] = field(default_factory=list, init=False, repr=False)

    def prompt(self) -> str:
        return FOCUS

    def words_of(self, turn: Turn) -> Block:
        """What was said and the time behind it; the rest of it is read first."""
        model, cache = self.model, turn.cache
        ids = [*turn.unread, *model.encode_text(f" ({clock(turn.pts)})\n")]
        model.forward(model.text_chunk(ids, cache.next_position, Role.BRANCH, turn.pts), cache)
        return cache.copy_out(torch.arange(turn.first_slot + turn.opening, cache.size))

    def kept(self, words: Block | None) -> None:
        self._blocks.append(words)
        while len(self.notes) > 1 and sum(len(b.slots) for b in self._blocks) > self.budget:
            self.drop(0)

    def drop(self, number: int) -> None:
        super().drop(number)
        del self._blocks[number]

    def read(self, question: str) -> Sequence[Noted]:
        return self.notes if self.helps(question) else []

    def target(self, question: str | None) -> Branch | None:
        wanted = not self.untaught if question is None else self.helps(question)
        return numbered(self._blocks) if self._blocks and wanted else None

    @property
    def bytes(self) -> int:
        return sum(b.raw.nbytes + b.value.nbytes for b in self._blocks)


def numbered(blocks: Sequence[Block]) -> Branch:
    """Text slots, one block behind the other, at positions 0, 1, ..."""
    plain = [Block(b.raw, b.value, b.slots.map(lambda f: f[..., :1, :])) for b in blocks]
    whole = joined(plain)   # on one plane: layers hold the same words
    count = len(whole.slots)
    place = torch.arange(count)
    whole.slots.position[:], whole.slots.base[:], whole.slots.span[:] = place, place, 1
    whole.slots.role[:] = int(Role.BRANCH)
    return Branch(whole.raw, whole.value, whole.slots, 0, count)
