"""One conversation: watch frames, answer questions, probe statements. No threads, no queues.

Watching while speaking (methods of Speak-While-Watching, arXiv 2601.06843, and Think-as-You-See,
arXiv 2603.02872, as composed for an unmodified model): a question and its answer are a branch
behind the frames. When a frame arrives mid-answer the branch is lifted off, the frame prefilled,
and the branch put back, so the video never attends to answers and nothing is computed twice.
"""
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from streamassist.branch import Turn, aside, begin, check_fit, video_room
from streamassist.cache import KVCache
from streamassist.config import EngineConfig
from streamassist.errors import StreamAssistError
from streamassist.memory.base import MemoryPolicy, drop_oldest
from streamassist.reuse import EncoderReuse
from streamassist.slots import Branch
from streamassist.thinking import Noted, Thinking, with_notes
from streamassist.tokens import TokenReducer
from streamassist.types import Frame, Role, VideoLLM, VisualTokens

NOT_SEEN = "I did not see that."


@dataclass(frozen=True, slots=True)
class Change:
    """change: against the previous frame; novelty: against the frame last spoken about; news: share
    of the frame's tokens that were not dropped as known; p_silence: the model's own word on it,
    where it has one; all 0..1."""

    change: float
    novelty: float
    p_silence: float | None = None
    news: float = 1.0


class Engine:
    """A model and all state of one stream: a cache, a memory policy, a token reducer, what the
    encoder reuses, and notes.

    frame_logits: (V,) the last row of the newest frame's prefill; None where the memory policy
    asked for queries instead. newest: the frame encoded last, before any reduction.
    """

    def __init__(
        self, model: VideoLLM, memory: MemoryPolicy, config: EngineConfig,
        tokens: TokenReducer | None = None, reuse: EncoderReuse | None = None,
        thinking: Thinking | None = None,
    ):
        self.model, self.memory, self.config = model, memory, config
        if config.cuda_graphs:
            use_graphs(model)
        self.reducer = tokens or TokenReducer()
        self.reuse = reuse or EncoderReuse()
        self.reuse.attach(model)
        self.thinking = thinking or Thinking()
        self.thinking.attach(model)
        self._room = video_room(model, config)
        self.tokens_seen = self.tokens_read = self.frames_encoded = 0
        self.encoder_work = 0.0
        memory.attach(model)
        self.cache: KVCache = model.new_cache()
        self.turn: Turn | None = None
        self.frame_logits: torch.Tensor | None = None
        self.newest: VisualTokens | None = None
        self._previous: torch.Tensor | None = None
        self._spoken: torch.Tensor | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the stream and prefill the pinned prompt."""
        self.cache.reset()
        self.memory.reset()
        self.reducer.reset()
        self.reuse.reset()
        self.thinking.reset()
        self.turn = self.frame_logits = self.newest = self._previous = self._spoken = None
        self._append(self.model.prompt_ids(), Role.PROMPT, 0.0)
        self.cache.pin()

    def forget(self, since: float) -> None:
        """Forget the frames of stream time `since` and later; no turn but a note may be open."""
        self.stop_note()
        self.thinking.forget(since)
        self.memory.forget(self.cache, since)
        self.cache.renumber()
        self.cache.truncate(self.cache.size)
        self.cache.wipe()
        self.reducer.reset()
        self.reuse.reset()
        self.frame_logits = self.newest = self._previous = self._spoken = None

    def figures(self) -> dict[str, dict[str, float]]:
        """Bytes outside of the cache by tier; visual tokens encoded and read; frames encoded, the
        work on these in whole frames, and bytes kept to save work; notes."""
        return {"pages": self.memory.bytes(),
                "tokens": {"seen": self.tokens_seen, "read": self.tokens_read},
                "encoder": {"frames": self.frames_encoded, "work": round(self.encoder_work, 2),
                            "bytes": self.reuse.bytes},
                "notes": {"kept": len(self.thinking.notes), "repeated": self.thinking.repeated,
                          "bytes": self.thinking.bytes}}

    def _append(
        self, ids: Sequence[int], role: Role, pts: float, cache: KVCache | None = None
    ) -> torch.Tensor:
        cache = self.cache if cache is None else cache
        chunk = self.model.text_chunk(ids, cache.next_position, role, pts)
        return self.model.forward(chunk, cache)

    # ------------------------------------------------------------ watching

    def observe(self, frame: Frame) -> Change:
        """Encode one frame and prefill it, also in the middle of an answer."""
        self.frame_logits = None
        if not self.reducer.wants(frame.image, frame.pts):
            self.tokens_seen += self.model.tokens_per_frame
            return Change(0.0, distance(self._previous, self._spoken), None, 0.0)
        seen = self.reuse.encode(frame)
        self.newest = seen
        self.frames_encoded += 1
        self.encoder_work += self.reuse.work
        tokens = self.reducer.reduce(seen, frame.image)
        self.tokens_seen += len(seen.embeds)
        if tokens is None:
            return self._compare(seen, None)
        self.tokens_read += len(tokens.embeds)
        with aside(self.cache, self.turn, self.config):
            self.memory.observe(tokens, self.cache)
            chunk = self.model.frame_chunk(tokens, self.cache.next_position)
            if self.memory.frame_queries:
                self.memory.queries = self.model.queries_of(chunk, self.cache)
            else:
                self.frame_logits = self.model.forward(chunk, self.cache)
            p_silence = self.model.p_silence
            self.reducer.after_prefill(self.cache, chunk)
            self.memory.after_prefill(self.cache)
            self._stay_in_context()
        return self._compare(seen, p_silence)

    def _stay_in_context(self) -> None:
        """Whatever the policy kept, the model reads no more positions than it was trained for."""
        if len(self.cache) > self._room:
            drop_oldest(self.cache, len(self.cache) - self._room)
        if self.cache.extent > self._room:   # a policy that keeps original positions has left gaps
            self.cache.renumber(ranks=True)

    def _compare(self, tokens: VisualTokens, p_silence: float | None) -> Change:
        now = tokens.look
        change = Change(distance(now, self._previous), distance(now, self._spoken), p_silence,
                        self.reducer.news)
        self._previous = now
        return change

    @property
    def view(self) -> torch.Tensor | None:
        """(N, F) what the newest frame looks like."""
        return self._previous

    def mark_spoken(self, view: torch.Tensor | None = None) -> None:
        """This view (default: the newest) has been spoken about; novelty is measured from it."""
        self._spoken = self._previous if view is None else view

    @contextmanager
    def branch(self) -> Iterator[None]:
        """While this is open the stream's cache ends with the video, without a running answer. What
        the caller appends is taken off again."""
        with aside(self.cache, self.turn, self.config):
            probe = Turn.on(self.cache, "", 0.0, 0)
            try:
                yield
            finally:
                probe.drop()

    # ------------------------------------------------------------ answering

    def ask(
        self, question: str, pts: float, history: Sequence[tuple[str, str]] = (),
        limit: int | None = None, recall: bool = True,
    ) -> Turn:
        """Prefill a question as a branch; `step` then yields the answer. One turn at a time.
        With `recall` the memory policy may bring back what the question needs, or say that it has
        not seen it; that is then the answer.
        """
        self.stop_note()
        if self.turn is not None:
            raise RuntimeError("ask() while another turn is open")
        cache = self.memory.before_answer(self.cache, question) if recall else self.cache
        turn = Turn.on(cache, question, pts, limit or self.config.max_answer_tokens)
        if recall and not (self.memory.supported() or self.thinking.knows_of(question)):
            turn.unseen, self.turn = True, turn
            return turn
        turn.recalled = self._times(cache) if recall else []
        recent = history[len(history) - min(len(history), self.model.history_turns):]
        lines = self.thinking.context(question) if recall else []
        notes = self.thinking.target(question) if recall else None
        return self._open(turn, self.model.question_ids(with_notes(lines, question), recent), notes)

    def _open(self, turn: Turn, ids: Sequence[int], notes: Branch | None) -> Turn:
        check_fit(turn, len(ids), self.model, self.config)
        try:
            begin(turn, self.config, notes)
            turn.logits = self._append(ids, Role.BRANCH, turn.pts, turn.cache)
        except Exception:
            turn.drop()
            raise
        turn.opening, self.turn = turn.cache.size - turn.first_slot, turn
        return turn

    def span(self) -> tuple[float, float] | None:
        """Stream times between which lies what the open turn could see, None without frames."""
        span, oldest = self.cache.time_span(), self.memory.oldest()
        if span is None or oldest is None or not (self.turn.recalled or self.turn.unseen):
            return span
        return min(oldest, span[0]), span[1]

    def _times(self, cache: KVCache) -> list[tuple[int, float]]:
        """(frame, pts) of what the memory brought back for a question, best first."""
        if not (found := self.memory.evidence()):
            return []
        used = cache.in_use()
        times = dict(zip(used.frame.flatten().tolist(), used.pts.flatten().tolist(), strict=True))
        return [(f, times[f]) for f, _ in found if f in times]

    def step(self) -> str:
        """Decode one token of the open turn; returns the new text (may be empty)."""
        turn = self.turn
        if turn.unseen:
            turn.text, turn.done = NOT_SEEN, True
            return NOT_SEEN
        if turn.ids:   # the token said last enters the cache only when its successor is wanted
            turn.logits = self._append([turn.ids[-1]], Role.BRANCH, turn.pts, turn.cache)
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

    def close(self) -> Noted | None:
        """End the turn, finished or not, and remove every trace of it from the cache; the note that
        it leaves, if it was one."""
        if (turn := self.turn) is None:
            return None
        noted = self.thinking.finish(turn) if turn.noting and turn.done else None
        turn.drop()
        self.turn = None
        self.memory.after_answer(self.cache)
        return noted

    # ------------------------------------------------------------ thinking

    def note_due(self, t: float) -> bool:
        """Whether a note is being written, or is due at stream time `t`."""
        return self.thinking.due(t, True) is not None if self.turn is None else self.turn.noting

    def note(self, t: float) -> Turn | None:
        """Begin a note, where one is due; `step` and `close` as for an answer. `ask` ends it."""
        if (asked := self.thinking.due(t, self.turn is None)) is None:
            return None
        cache = self.thinking.desk(self.cache, self.thinking.since(t))
        turn = Turn.on(cache, asked, t, self.thinking.longest, noting=True)
        return self._open(turn, self.model.question_ids(asked), self.thinking.target(None))

    def stop_note(self) -> None:
        """An unfinished note gives way."""
        if self.turn is not None and self.turn.noting:
            self.close()

    # ------------------------------------------------------------ probing

    def probe(self, statement: str, pts: float) -> float:
        """How likely it is, 0..1, that `statement` holds now; leaves no trace."""
        with self.branch():
            return self.model.probe(statement, self.cache, pts)


def use_graphs(model: VideoLLM) -> None:
    if not hasattr(model, "use_graphs"):
        raise StreamAssistError(f"--cuda-graphs does not suit the model {model.name}.")
    model.use_graphs()


def distance(a: torch.Tensor, b: torch.Tensor | None) -> float:
    """Mean cosine distance of the rows at the same place, doubled and capped at 1 (N, F).

    1 when there is nothing to compare with, or the frames have different grids. The doubling makes
    a cut to an unrelated scene about 1 with the features of our models.
    """
    if b is None or a.shape != b.shape:
        return 1.0
    similar = torch.nn.functional.cosine_similarity(a.float(), b.float(), dim=-1).mean()
    return min(1.0, max(0.0, 2.0 * (1.0 - float(similar))))
