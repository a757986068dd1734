"""What is being said: questions that wait, the answer being given, a remark being made."""
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streamassist.clock import Clock
from streamassist.engine import Engine, Turn
from streamassist.errors import StreamAssistError
from streamassist.response.base import ResponsePolicy
from streamassist.response.gate import Gate
from streamassist.types import Answer, Decision, Frame, Remark, ReplyStarted, TextDelta

MAX_QUESTION = 2000   # characters
MAX_WAITING = 8       # questions
REMARK_TOKENS = 32

Emit = Callable[..., None]   # emit(event class, t, **fields)
History = Callable[[], list[tuple[str, str]]]


@dataclass(slots=True)
class Waiting:
    """A question that was accepted and not yet begun."""

    text: str
    t: float
    asked: float   # monotonic


@dataclass(slots=True)
class Speaking:
    """The turn being decoded: an answer when `waiting` is set, else a remark about `frame`, which
    looked like `view`."""

    turn: Turn
    number: int
    waiting: Waiting | None
    frame: Frame
    said_t: float
    span: tuple[float, float] | None
    view: object   # the engine's
    score: float = 0.0
    first_word_ms: float | None = None

    @property
    def evidence(self) -> list[dict]:
        """What memory brought back for the answer, else the newest frame it could see; nothing for
        what was not seen."""
        if self.span is None or self.turn.unseen:
            return []
        frames = self.turn.recalled or [(self.frame.index, self.frame.pts)]
        return [{"t": round(pts, 3), "frame": frame} for frame, pts in frames]


class Speaker:
    """One conversation's talking. The engine is handed in, since a fault replaces it."""

    def __init__(self, gate: Gate, response: ResponsePolicy, clock: Clock, emit: Emit):
        self.gate, self.response, self.clock, self.emit = gate, response, clock, emit
        self.first_word_ms: float | None = None
        self.remark_due: Decision | None = None
        self.speaking: Speaking | None = None
        self._waiting: deque[Waiting] = deque()
        self._begun: Waiting | None = None   # being prefilled
        self._turns = 0

    @property
    def pending_query(self) -> str | None:
        return self._waiting[0].text if self._waiting else None

    @property
    def has_something(self) -> bool:
        return bool(self.speaking or self._waiting or self.remark_due)

    # ------------------------------------------------------------ what comes in

    def accept(self, text: str, t: float, engine: Engine) -> None:
        """Queue a question; raises StreamAssistError. A remark being made gives way."""
        if len(self._waiting) >= MAX_WAITING:
            raise StreamAssistError(
                f"{MAX_WAITING} questions are waiting already; give me a moment."
            )
        self._waiting.append(Waiting(text, t, self.clock.monotonic()))
        self.drop_remark(engine)

    def drop_remark(self, engine: Engine) -> None:
        """No remark now, neither one that is due nor one being made."""
        self.remark_due = None
        if self.speaking and self.speaking.waiting is None:
            self._drop_turn(engine)

    def stop(self, engine: Engine, dropped: int) -> None:
        """Stop talking; an answer keeps what was said."""
        self.drop_remark(engine)
        if self.speaking:
            self._finish_answer(engine, dropped, interrupted=True)

    def clear(self) -> None:
        self._waiting.clear()

    # ------------------------------------------------------------ what goes out

    def advance(
        self, engine: Engine, newest: Frame, now: float, dropped: int, history: History
    ) -> None:
        """Decode one token, after beginning a turn if need be."""
        if self.speaking is None:
            self._begin(engine, newest, now, history)
        if self.speaking is not None:
            self._speak(engine, now, dropped)

    def _begin(self, engine: Engine, newest: Frame, now: float, history: History) -> None:
        score, waiting = 0.0, None
        if self._waiting:
            self._begun = waiting = self._waiting.popleft()
            turn = engine.ask(waiting.text, waiting.t, history())
            self._begun = None
        elif self.remark_due:
            score, self.remark_due = self.remark_due.score, None
            turn = engine.ask(
                engine.model.describe_prompt, newest.pts, limit=REMARK_TOKENS, recall=False
            )
        else:
            return
        self._turns += 1
        self.speaking = Speaking(
            turn, self._turns, waiting, newest, now, engine.span(), engine.view, score
        )

    def _speak(self, engine: Engine, now: float, dropped: int) -> None:
        """One token; an answer is passed on word by word, a remark only when whole."""
        speaking = self.speaking
        new = engine.step()
        if speaking.waiting and new:
            if speaking.first_word_ms is None:
                self._first_word(speaking, now)
            self.emit(TextDelta, now, turn=speaking.number, text=new)
        if speaking.turn.done and speaking.waiting:
            self._finish_answer(engine, dropped)
        elif speaking.turn.done:
            self._finish_remark(engine, now)

    def _first_word(self, speaking: Speaking, now: float) -> None:
        elapsed = self.clock.monotonic() - speaking.waiting.asked
        self.first_word_ms = speaking.first_word_ms = round(1000 * elapsed, 1)
        speaking.said_t = now
        self.emit(ReplyStarted, now, turn=speaking.number, question=speaking.waiting.text)

    def _drop_turn(self, engine: Engine) -> None:
        engine.close()
        self.speaking = None

    def _finish_answer(self, engine: Engine, dropped: int, interrupted: bool = False) -> None:
        speaking = self.speaking
        self._drop_turn(engine)
        engine.mark_spoken()
        self._record(speaking, dropped, interrupted)

    def break_off(self, dropped: int) -> None:
        """The engine died in the middle: keep what was said, touch no engine."""
        speaking, self.speaking, self.remark_due = self.speaking, None, None
        if speaking and speaking.waiting:
            self._record(speaking, dropped, interrupted=True)
        lost, self._begun = self._begun, None
        if lost:
            self.emit(Answer, lost.t, question=lost.text, question_t=lost.t, interrupted=True)

    def _record(self, speaking: Speaking, dropped: int, interrupted: bool) -> None:
        self.emit(
            Answer,
            speaking.said_t,
            text=speaking.turn.text.strip(),
            question=speaking.waiting.text,
            question_t=speaking.waiting.t,
            first_word_ms=speaking.first_word_ms,
            evidence=speaking.evidence,
            turn=speaking.number,
            interrupted=interrupted,
            span=speaking.span,
            frame_age_s=round(max(0.0, speaking.said_t - speaking.frame.pts), 3),
            dropped=dropped,
        )

    def _finish_remark(self, engine: Engine, now: float) -> None:
        speaking = self.speaking
        self._drop_turn(engine)
        text = speaking.turn.text.strip()
        stale = self.gate.stale(speaking.frame.pts, now)
        if not stale:   # what came too late is still to be told
            engine.mark_spoken(speaking.view)
        if not text or stale or self.gate.repeats(text):
            self.gate.withheld()
            return
        self.gate.spoken(text, now)
        self.response.on_spoken(now)
        score = round(speaking.score, 3)
        self.emit(Remark, now, text=text, evidence=speaking.evidence, score=score)
