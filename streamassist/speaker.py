"""What is being said: questions that wait, the answer being given, a remark being made."""
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streamassist.clock import Clock
from streamassist.delegate import Call, DelegateError, Doubt, Unsure
from streamassist.engine import Engine, Turn
from streamassist.errors import StreamAssistError
from streamassist.timing import Timing
from streamassist.tools import Helpers
from streamassist.tools.base import Errand, ToolDesk
from streamassist.tools.look_again import close_up
from streamassist.tools.search_memory import recalled
from streamassist.types import Answer, Decision, Frame, Notice, Remark, ReplyStarted, TextDelta

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
    looked like `view`. `voice` gives its words: the engine, another one that looks closer, or the
    delegate, whose call is the turn as well. errand: what tools did for the answer."""

    turn: Turn | Call
    voice: Engine | Doubt | Call
    number: int
    waiting: Waiting | None
    frame: Frame
    said_t: float
    span: tuple[float, float] | None
    view: object   # the engine's
    score: float = 0.0
    reason: str = ""   # of a remark
    errand: Errand | None = None
    first_word_ms: float | None = None

    @property
    def evidence(self) -> list[dict]:
        """What tools found or memory brought back for the answer, else the newest frame it could
        see; nothing for what was not seen."""
        found = self.errand.frames if self.errand else []
        if self.span is None or (self.turn.unseen and not found):
            return []
        frames = found or self.turn.recalled or [(self.frame.index, self.frame.pts)]
        return [{"t": round(pts, 3), "frame": frame} for frame, pts in frames]


class Speaker:
    """One conversation's talking. The engine is handed in, since a fault replaces it.

    helpers: tools and a delegate, none by default; desk: what tools may look at, as it stands.
    """

    def __init__(
        self, timing: Timing, clock: Clock, emit: Emit, helpers: Helpers | None = None,
        desk: Callable[[], ToolDesk] | None = None,
    ):
        self.timing, self.clock, self.emit = timing, clock, emit
        self.helpers, self.desk = helpers or Helpers(), desk
        self.first_word_ms: float | None = None
        self.remark_due: Decision | None = None
        self.speaking: Speaking | None = None
        self._waiting: deque[Waiting] = deque()
        self._begun: Waiting | None = None   # its tools are at work, or it is being prefilled
        self._errand: Errand | None = None   # of the question begun, until it is prefilled
        self._turns = 0

    @property
    def pending_query(self) -> str | None:
        first = self._begun or next(iter(self._waiting), None)
        return first.text if first else None

    @property
    def has_something(self) -> bool:
        return bool(self.speaking or self._begun or self._waiting or self.remark_due)

    @property
    def full(self) -> bool:
        """No more questions now."""
        return len(self._waiting) >= MAX_WAITING

    # ------------------------------------------------------------ what comes in

    def accept(self, text: str, t: float, engine: Engine) -> None:
        """Queue a question; raises StreamAssistError. A remark being made gives way."""
        if self.full:
            raise StreamAssistError(
                f"{MAX_WAITING} questions are waiting already; give me a moment."
            )
        self._waiting.append(Waiting(text, t, self.clock.monotonic()))
        self.drop_remark(engine)

    def drop_remark(self, engine: Engine) -> None:
        """No remark now, neither one that is due nor one being made."""
        self.remark_due = None
        if self.speaking and self.speaking.waiting is None:
            self._drop_turn()

    def stop(self, engine: Engine, dropped: int) -> None:
        """Stop talking; an answer keeps what was said."""
        self.drop_remark(engine)
        if self.speaking:
            self._finish_answer(engine, dropped, interrupted=True)
        elif self._errand:
            self._errand.cancel()
            self._errand = None
            self._close_unanswered()

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
        if self._begun is None and self._waiting:
            self._begun = self._waiting.popleft()
            self._errand = self.helpers.errand(self._begun.text, self.clock)
        if self._errand:
            if self._errand.advance(self.desk):
                self._begin_answer(engine, newest, now, history)
        elif self.remark_due:
            due, self.remark_due = self.remark_due, None
            turn = engine.ask(
                engine.model.describe_prompt, newest.pts, limit=REMARK_TOKENS, recall=False
            )
            self._turns += 1
            self.speaking = Speaking(
                turn, engine, self._turns, None, newest, now, engine.span(), engine.view,
                due.score, due.reason,
            )

    def _begin_answer(self, engine: Engine, newest: Frame, now: float, history: History) -> None:
        """Tools are done: ask the delegate where it was named, else the local model."""
        waiting, errand, self._errand = self._begun, self._errand, None
        while errand.troubles:
            self.emit(Notice, now, text=errand.troubles.pop(0))
        if errand.hard and not errand.alone:
            desk = self.desk()
            turn = voice = self.helpers.delegate.ask(errand, desk, recalled(errand.question, desk))
            span = turn.span
        else:
            turn, voice, span = self._ask(engine, errand, history)
        self._begun = None
        self._turns += 1
        self.speaking = Speaking(
            turn, voice, self._turns, waiting, newest, now, span, engine.view, errand=errand
        )

    def _ask(
        self, engine: Engine, errand: Errand, history: History
    ) -> tuple[Turn, Engine | Doubt, tuple[float, float] | None]:
        """(turn, its voice, stream times it could see) of the local model."""
        question, t, told = errand.question, self._begun.t, errand.as_turns()
        if errand.images:
            engine = close_up(engine, errand.images)
            turn = engine.ask(question, t, told, recall=False)
        else:
            turn = engine.ask(question, t, [*history(), *told])
            if turn.unseen and errand.frames:   # a tool has found what memory has not
                engine.close()
                turn = engine.ask(question, t, [*history(), *told], recall=False)
        delegate = self.helpers.delegate
        voice = Doubt(engine, delegate.unsure) if delegate and not errand.alone else engine
        return turn, voice, engine.span()

    # ------------------------------------------------------------ the delegate

    def _hand_over(self) -> None:
        """The local model is unsure and has said nothing yet."""
        speaking = self.speaking
        speaking.voice.close()
        call = self.helpers.delegate.ask(speaking.errand, self.desk(), speaking.turn.recalled)
        speaking.turn, speaking.voice, speaking.span = call, call, call.span

    def _answer_myself(self, error: DelegateError, now: float, dropped: int) -> None:
        """The delegate failed. What it has said stays, as an answer that was broken off."""
        speaking = self.speaking
        speaking.voice.close()
        self.emit(Notice, now, text=str(error))
        if speaking.turn.text:
            self._record(speaking, dropped, interrupted=True)
        speaking.errand.used[-1] += " in vain"
        self.speaking, self._begun, self._errand = None, speaking.waiting, speaking.errand

    # ------------------------------------------------------------ words

    def _speak(self, engine: Engine, now: float, dropped: int) -> None:
        """One token; an answer is passed on word by word, a remark only when whole."""
        speaking = self.speaking
        try:
            new = speaking.voice.step()
        except Unsure:
            return self._hand_over()
        except DelegateError as error:
            return self._answer_myself(error, now, dropped)
        if speaking.waiting and new:
            if speaking.first_word_ms is None:
                self._first_word(speaking, now)
            self.emit(TextDelta, now, turn=speaking.number, text=new)
        if speaking.turn.done and speaking.waiting:
            self._finish_answer(engine, dropped)
        elif speaking.turn.done:
            self._finish_remark(engine, now)
        return None

    def _first_word(self, speaking: Speaking, now: float) -> None:
        elapsed = self.clock.monotonic() - speaking.waiting.asked
        self.first_word_ms = speaking.first_word_ms = round(1000 * elapsed, 1)
        speaking.said_t = now
        self.emit(ReplyStarted, now, turn=speaking.number, question=speaking.waiting.text)

    def _drop_turn(self) -> None:
        self.speaking.voice.close()
        self.speaking = None

    def _finish_answer(self, engine: Engine, dropped: int, interrupted: bool = False) -> None:
        speaking = self.speaking
        self._drop_turn()
        engine.mark_spoken()
        self._record(speaking, dropped, interrupted)

    def break_off(self, dropped: int) -> None:
        """The engine died in the middle: keep what was said, touch no engine; tools go on."""
        speaking, self.speaking, self.remark_due = self.speaking, None, None
        if speaking and speaking.voice is speaking.turn:
            speaking.voice.close()
        if speaking and speaking.waiting:
            self._record(speaking, dropped, interrupted=True)
        if self._begun and not self._errand:
            self._close_unanswered()

    def _close_unanswered(self) -> None:
        lost, self._begun = self._begun, None
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
            used=list(speaking.errand.used),
        )

    def _finish_remark(self, engine: Engine, now: float) -> None:
        speaking = self.speaking
        self._drop_turn()
        text, gate = speaking.turn.text.strip(), self.timing.gate
        stale = gate.stale(speaking.frame.pts, now)
        if not stale:   # what came too late is still to be told
            engine.mark_spoken(speaking.view)
        if not text or stale or gate.repeats(text):
            self.timing.withheld()
            return
        self.timing.said(engine, text, speaking.frame.pts, now)
        self.emit(
            Remark, now, text=text, evidence=speaking.evidence, score=round(speaking.score, 3),
            reason=speaking.reason,
        )
