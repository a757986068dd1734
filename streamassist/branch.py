"""Where a question and its answer stand while frames keep coming: a branch behind the frames.

`EngineConfig.branch` names it. For an unmodified model all of these are our inference from methods
that train one:
follow   behind the newest frame, moved there whenever one comes
overlap  at the end of the video as it was asked; the video goes on from that same position (OSPE
         of Speak-While-Watching, arXiv 2601.06843)
gap      so many positions behind that end (GIPE, ibid., whose answers begin at 10,000)
group    counted from the start of the prompt, as the video is (GDPE, ibid.; Group Position
         Encoding, arXiv 2505.16983). The question counts with its answer, as it comes after the
         frames here; and where eviction has moved the prompt, the group begins where it now does.

In none of them does the video attend to a branch, or stand elsewhere because of one.
"""
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from streamassist.cache import KVCache
from streamassist.config import EngineConfig
from streamassist.errors import StreamAssistError
from streamassist.memory.base import CONTEXT_RESERVE
from streamassist.slots import Branch
from streamassist.types import VideoLLM

LOOP = 6   # an answer whose last LOOP tokens repeat the LOOP before them is going in circles
NO_LOGITS = torch.zeros(1)


@dataclass(slots=True)
class Turn:
    """An answer being decoded, or a note. `text` is what was said so far."""

    question: str
    pts: float
    limit: int
    cache: KVCache           # where it is answered: the stream's, or a copy made for it
    first_slot: int          # of the branch in it
    video_end: int           # position where the video goes on
    logits: torch.Tensor = NO_LOGITS
    opening: int = 0         # slots of the branch before the first word said
    ids: list[int] = field(default_factory=list)
    text: str = ""
    done: bool = False
    recalled: list[tuple[int, float]] = field(default_factory=list)   # (frame, pts), best first
    unseen: bool = False     # nothing in memory supports an answer
    noting: bool = False     # a note of the assistant's for itself

    @classmethod
    def on(cls, cache: KVCache, question: str, pts: float, limit: int, **facts: bool) -> "Turn":
        """A turn whose branch will begin behind what the cache holds now."""
        return cls(question, pts, limit, cache, cache.size, cache.next_position, **facts)

    @property
    def looping(self) -> bool:
        return len(self.ids) >= 2 * LOOP and self.ids[-LOOP:] == self.ids[-2 * LOOP : -LOOP]

    @property
    def unread(self) -> list[int]:
        """Tokens said that are not in the cache yet."""
        return self.ids[self.cache.size - self.first_slot - self.opening :]

    def drop(self) -> None:
        """Take the branch off the cache, which is then as if there had been none."""
        self.cache.truncate(self.first_slot)
        self.cache.next_position = self.video_end


def begin(turn: Turn, config: EngineConfig, notes: Branch | None = None) -> None:
    """Make the next chunk start where the branch does; `notes` come before it, in its group."""
    start = start_of(turn.cache, config)
    turn.cache.next_position = start
    if notes is not None:
        turn.cache.put_back(notes, start)


def start_of(cache: KVCache, config: EngineConfig) -> int:
    """Position at which a branch begins; the cache ends with the video."""
    if config.branch == "group":
        return int(cache.in_use().position.min()) if cache.size else 0
    return cache.next_position + (config.gap if config.branch == "gap" else 0)


@contextmanager
def aside(cache: KVCache, turn: Turn | None, config: EngineConfig) -> Iterator[None]:
    """Lift the branch of a turn that is answered on this cache, and put it back behind whatever
    came; meanwhile the cache is as if there were none."""
    if turn is None or turn.cache is not cache:
        yield
        return
    branch = cache.lift(turn.first_slot)
    cache.next_position = turn.video_end
    try:
        yield
    finally:
        turn.first_slot, turn.video_end = cache.size, cache.next_position
        stays = config.branch in ("overlap", "gap")
        cache.put_back(branch, None if stays else start_of(cache, config))


def video_room(model: VideoLLM, config: EngineConfig) -> int:
    """Positions that prompt and video may take; raises StreamAssistError when a gap leaves none."""
    gap = config.gap if config.branch == "gap" else 0
    room = model.max_context - CONTEXT_RESERVE - gap
    if gap and room < CONTEXT_RESERVE:
        raise StreamAssistError(
            f"A gap of {gap} positions does not fit into the {model.max_context} that the model "
            f"{model.name} reads; choose at most "
            f"{max(0, model.max_context - 2 * CONTEXT_RESERVE)}, or another --branch."
        )
    return room


def check_fit(turn: Turn, count: int, model: VideoLLM, config: EngineConfig) -> None:
    """Raise StreamAssistError when `count` tokens and their answer behind a gap do not fit."""
    last = turn.cache.extent + config.gap + count + turn.limit
    if config.branch == "gap" and last > model.max_context:
        raise StreamAssistError(
            f"With a gap of {config.gap} positions this answer would end at position {last}, and "
            f"the model {model.name} reads {model.max_context}; choose a smaller gap or memory."
        )
