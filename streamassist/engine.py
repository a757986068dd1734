"""One conversation: watch frames, answer questions, probe statements. No threads, no queues.

Watching while speaking (methods of Speak-While-Watching, arXiv 2601.06843, and Think-as-You-See,
arXiv 2603.02872, as composed for an unmodified model): a question and its answer are a branch
behind the frames. When a frame arrives mid-answer the branch is lifted off, the frame prefilled,
and the branch put back, so the video never attends to answers and nothing is computed twice.
"""
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from streamassist.cache import KVCache
from streamassist.config import EngineConfig
from streamassist.memory.base import MemoryPolicy, drop_frames, frame_sizes, oldest_until
from streamassist.types import Frame, Role, VideoLLM, VisualTokens

CONTEXT_RESERVE = 1024   # positions left for the prompt, a question and its answer
LOOP = 6   # an answer whose last LOOP tokens repeat the LOOP before them is going in circles


@dataclass(slots=True)
class Turn:
    """An answer being decoded. `text` is what was said so far."""

    question: str
    pts: float
    first_slot: int
    logits: torch.Tensor
    limit: int
    ids: list[int] = field(default_factory=list)
    text: str = ""
    done: bool = False

    @property
    def looping(self) -> bool:
        return len(self.ids) >= 2 * LOOP and self.ids[-LOOP:] == self.ids[-2 * LOOP : -LOOP]


@dataclass(frozen=True, slots=True)
class Change:
    """change: against the previous frame; novelty: against the frame last spoken about; 0..1."""

    change: float
    novelty: float


class Engine:
    """A model, a cache and a memory policy; all state of one stream lives here."""

    def __init__(self, model: VideoLLM, memory: MemoryPolicy, config: EngineConfig):
        self.model, self.memory, self.config = model, memory, config
        self.cache: KVCache = model.new_cache()
        self.turn: Turn | None = None
        self._previous: torch.Tensor | None = None
        self._spoken: torch.Tensor | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the stream and prefill the pinned prompt."""
        self.cache.reset()
        self.memory.reset()
        self.turn = self._previous = self._spoken = None
        self._append(self.model.prompt_ids(), Role.PROMPT, 0.0)
        self.cache.pin()

    def _append(self, ids: Sequence[int], role: Role, pts: float) -> torch.Tensor:
        chunk = self.model.text_chunk(ids, self.cache.next_position, role, pts)
        return self.model.forward(chunk, self.cache)

    # ------------------------------------------------------------ watching

    def observe(self, frame: Frame) -> Change:
        """Encode one frame and prefill it, also in the middle of an answer."""
        tokens = self.model.encode([frame])[0]
        with self._branch_aside():
            self.memory.observe(tokens, self.cache)
            self.model.forward(
                self.model.frame_chunk(tokens, self.cache.next_position), self.cache
            )
            self.memory.after_prefill(self.cache)
            self._stay_in_context()
        return self._compare(tokens)

    def _stay_in_context(self) -> None:
        """Whatever the policy kept, the model reads no more positions than it was trained for."""
        excess = len(self.cache) - self.model.max_context + CONTEXT_RESERVE
        if excess > 0:
            drop_frames(self.cache, oldest_until(*frame_sizes(self.cache), excess))

    def _compare(self, tokens: VisualTokens) -> Change:
        now = tokens.embeds if tokens.signature is None else tokens.signature
        change = Change(distance(now, self._previous), distance(now, self._spoken))
        self._previous = now
        return change

    def mark_spoken(self) -> None:
        """The newest frame has been spoken about; novelty is measured from here."""
        self._spoken = self._previous

    @contextmanager
    def _branch_aside(self) -> Iterator[None]:
        """Lift the running answer off the cache and put it back behind whatever came."""
        turn = self.turn
        if turn is None:
            yield
            return
        branch = self.cache.lift(turn.first_slot)
        try:
            yield
        finally:
            follow = self.config.branch == "follow"
            turn.first_slot = self.cache.size
            self.cache.put_back(branch, self.cache.next_position if follow else None)

    # ------------------------------------------------------------ answering

    def ask(
        self, question: str, pts: float, history: Sequence[tuple[str, str]] = (),
        limit: int | None = None,
    ) -> Turn:
        """Prefill a question as a branch; `step` then yields the answer. One turn at a time."""
        if self.turn is not None:
            raise RuntimeError("ask() while another turn is open")
        self.memory.before_answer(self.cache, question)
        first_slot = self.cache.size
        recent = history[len(history) - min(len(history), self.model.history_turns):]
        ids = self.model.question_ids(question, recent)
        try:
            logits = self._append(ids, Role.BRANCH, pts)
        except Exception:
            self.cache.truncate(first_slot)
            raise
        limit = limit or self.config.max_answer_tokens
        self.turn = Turn(question, pts, first_slot, logits, limit)
        return self.turn

    def step(self) -> str:
        """Decode one token of the open turn; returns the new text (may be empty)."""
        turn = self.turn
        if turn.ids:   # the token said last enters the cache only when its successor is wanted
            turn.logits = self._append([turn.ids[-1]], Role.BRANCH, turn.pts)
        token = int(turn.logits.argmax())
        if token in self.model.stop_ids:
            turn.done = True
            return ""
        turn.ids.append(token)
        text = self.model.detokenize(turn.ids)
        turn.done = len(turn.ids) >= turn.limit or turn.looping
        if text.endswith("\ufffd") and not turn.done:   # half a character: wait for the rest
            return ""
        new, turn.text = text[len(turn.text):], text
        return new

    def close(self) -> None:
        """End the turn, finished or not, and remove every trace of it from the cache."""
        if self.turn is None:
            return
        self.cache.truncate(self.turn.first_slot)
        self.turn = None
        self.memory.after_answer(self.cache)

    # ------------------------------------------------------------ probing

    def probe(self, statement: str, pts: float) -> float:
        """How likely it is, 0..1, that `statement` holds now; leaves no trace."""
        with self._branch_aside():
            first_slot = self.cache.size
            try:
                return self.model.probe(statement, self.cache, pts)
            finally:
                self.cache.truncate(first_slot)


def distance(a: torch.Tensor, b: torch.Tensor | None) -> float:
    """Mean cosine distance of the rows at the same place, doubled and capped at 1 (N, F).

    1 when there is nothing to compare with, or the frames have different grids. The doubling makes
    a cut to an unrelated scene about 1 with the features of our models.
    """
    if b is None or a.shape != b.shape:
        return 1.0
    similar = torch.nn.functional.cosine_similarity(a.float(), b.float(), dim=-1).mean()
    return min(1.0, max(0.0, 2.0 * (1.0 - float(similar))))
