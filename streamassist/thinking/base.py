"""What the assistant may note down for itself while it watches, and when. This one knows no method.

A note is written when nothing else is to be said, about the clip since the last one; it never holds
up an answer. Notes are for questions about what is gone: how they get there is a method's affair.
"""
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from streamassist.branch import Turn
from streamassist.cache import KVCache
from streamassist.config import check_range
from streamassist.memory.base import CONTEXT_RESERVE
from streamassist.memory.question import content_words, things_in, when
from streamassist.slots import Block, Branch
from streamassist.types import VideoLLM

REMEMBERED = 5               # newest notes that a new one must not repeat
ROOM = CONTEXT_RESERVE // 2  # positions; the rest is for the prompt, the question, its answer


class Noted(NamedTuple):
    """What was noted about the stream from `since` to `t`, in seconds."""

    since: float
    t: float
    text: str

    @property
    def line(self) -> str:
        return f"{clock(self.t)} {self.text}"


@dataclass
class Thinking:
    """Takes no notes (`none`). One object belongs to one stream."""

    model: ClassVar[VideoLLM | None] = None
    longest: int = field(default=60, init=False)   # tokens of a note
    notes: list[Noted] = field(default_factory=list, init=False)
    repeated: int = field(default=0, init=False)   # notes dropped as they said nothing new

    def attach(self, model: VideoLLM) -> None:
        """The model that writes; once, before anything else."""
        self.model = model

    def due(self, t: float, engine_idle: bool) -> str | None:
        """What the model shall be asked for a note at stream time `t`, None: nothing yet."""
        return None

    def since(self, t: float) -> float:
        """Stream time at which the clip that a note at `t` is about begins."""
        return t

    def desk(self, cache: KVCache, since: float) -> KVCache:
        """Where a note is written: the stream's cache, or a copy with what it may see."""
        return cache

    def take(self, text: str, since: float, t: float, words: Block | None = None) -> bool:
        """A note is finished; whether it was kept. words: the slots of them, where these are."""
        return False

    def finish(self, turn: Turn) -> Noted | None:
        """Take what a turn has said, before it is dropped; the note, where it was kept."""
        since = self.since(turn.pts)
        kept = self.take(turn.text, since, turn.pts, self.words_of(turn))
        return self.notes[-1] if kept else None

    def words_of(self, turn: Turn) -> Block | None:
        """The slots of what a turn has said, where they are to be kept."""
        return None

    def context(self, question: str) -> list[str]:
        """Lines to put before a question, oldest first."""
        return []

    def target(self, question: str | None) -> Branch | None:
        """Keys and values to read before a question (None: before a note), placed from 0 on."""
        return None

    def knows_of(self, question: str) -> bool:
        """Whether a note that goes with the question names a thing it asks about."""
        return False

    @property
    def bytes(self) -> int:
        """Of the keys and values that are kept."""
        return 0

    def forget(self, since: float) -> None:
        """Forget what was noted about stream time `since` and later."""

    def reset(self) -> None:
        """Another stream begins."""


@dataclass
class NoteTaking(Thinking):
    """What the methods share: a note every `every_s` seconds, no two alike, the oldest leave.

    A model that reads no earlier turns (`history_turns` is 0) was not taught to take notes: it is
    asked for its description, and reads notes only with questions about the past that name a thing
    or a time when another clip was on. With "What was there before?" they mislead nano, which then
    takes the first of them (`benchmarks.while_speaking`). All this is ours.
    """

    every_s: float = 8.0     # between two notes
    longest: int = 60        # tokens of a note
    most: int = 50           # notes kept
    budget: int = 256        # tokens of notes that go with a question
    _start: float | None = field(default=None, init=False, repr=False)   # of the running clip
    _now: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("every_s", 0.5, 3600), ("longest", 1, ROOM), ("most", 1, 1000), ("budget", 1, ROOM)
        ):
            check_range(f"The thinking setting {name}", getattr(self, name), least, most)

    def due(self, t: float, engine_idle: bool) -> str | None:
        self._now = t
        if self._start is None:
            self._start = t
        if not engine_idle or t < self._start + self.every_s:
            return None
        return self.model.describe_prompt if self.untaught else self.prompt()

    @property
    def untaught(self) -> bool:
        return self.model.history_turns == 0

    def prompt(self) -> str:
        """Asks for only what is new, and for no answer."""
        raise NotImplementedError

    def since(self, t: float) -> float:
        return t if self._start is None else self._start

    def take(self, text: str, since: float, t: float, words: Block | None = None) -> bool:
        self._start = t
        text = " ".join(text.split())
        newest = self.notes[-REMEMBERED:]
        if not text or any(_words(text) == _words(note.text) for note in newest):
            self.repeated += bool(text)
            return False
        self.notes.append(Noted(since, t, text))
        self.kept(words)
        while len(self.notes) > self.most:
            self.drop(0)
        return True

    def kept(self, words: Block | None) -> None:
        """A note was appended to `notes`."""

    def drop(self, number: int) -> None:
        del self.notes[number]

    def helps(self, question: str) -> bool:
        """Whether notes go with this question at all."""
        if not self.untaught:
            return True
        asked = when(question, self._now)
        if asked.at is not None:
            return asked.at <= self._now - self.every_s
        return asked.past is True and bool(things_in(question) or "first" in _words(question))

    def knows_of(self, question: str) -> bool:
        wanted = set(content_words(question))
        said = self.read(question)
        return any(wanted & set(content_words(note.text)) for note in said)

    def read(self, question: str) -> Sequence[Noted]:
        """The notes that go with a question, oldest first."""
        raise NotImplementedError

    def forget(self, since: float) -> None:
        for number in reversed(range(len(self.notes))):
            if self.notes[number].t >= since:
                self.drop(number)
        if self._start is not None:
            self._start = min(self._start, since)

    def reset(self) -> None:
        while self.notes:
            self.drop(0)
        self.repeated, self._start, self._now = 0, None, 0.0


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def clock(seconds: float) -> str:
    """65.0 -> "1:05"."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def with_notes(lines: Sequence[str], question: str) -> str:
    """The question as it is asked with notes before it."""
    return f"Earlier: {' '.join(lines)} {question}" if lines else question
