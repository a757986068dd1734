"""A conversation about a stream: what to do with each frame and command, and what comes of it.

Everything that must survive a fault of the model lives here (transcript, rules, thumbnails, recent
frames); the engine may be thrown away and made anew. No threads and no waiting: `worker` and
`replay` call it, both with the same results.
"""
import logging
from collections import deque
from collections.abc import Callable

from streamassist.archive import Archive
from streamassist.clock import Clock
from streamassist.config import Config, check_range
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.frames import jpeg
from streamassist.motion import MotionMeter
from streamassist.response.base import ResponsePolicy
from streamassist.response.gate import Gate
from streamassist.rules import Rule, RuleBook, is_rule
from streamassist.speaker import MAX_QUESTION, Speaker
from streamassist.types import (
    AddRule,
    Alert,
    Answer,
    Command,
    Configure,
    Event,
    Failed,
    Forget,
    Forgotten,
    Frame,
    FrameSignals,
    Interrupt,
    NewStream,
    Notice,
    Query,
    Remark,
    RemoveRule,
    Rules,
)

log = logging.getLogger(__name__)

MAX_TRANSCRIPT = 2000      # events kept for pages that come back
RECENT_FRAMES = 8          # prefilled again after a fault
HISTORY_TURNS = 8          # at most this many are offered to the model
THUMBNAIL_SIDE, THUMBNAIL_BYTES = 160, 32 << 20   # pixels; all that are in RAM
PROTECT_EVERY = 16         # frames
MAX_TOLD = 20              # sentences about a disk; more are in the log
MAX_FAULTS, FAULT_WINDOW_S = 3, 60.0


class Session:
    """`emit` receives every event, in order. `t` is always stream time in seconds."""

    def __init__(
        self, make_engine: Callable[[], Engine], response: ResponsePolicy, config: Config,
        clock: Clock, emit: Callable[[Event], None],
    ):
        self.make_engine, self.response, self.config = make_engine, response, config
        self.clock, self._emit = clock, emit
        self.engine = make_engine()
        self.gate = Gate(config.gate)
        self.rules = RuleBook()
        self.archive = Archive(THUMBNAIL_BYTES, *config.kept("thumbnails"))
        self._told: set[str] = set()       # faults of a disk
        self._motion = MotionMeter()
        self.transcript: deque[Event] = deque(maxlen=MAX_TRANSCRIPT)
        self.commentary = True
        self.speaker = Speaker(self.gate, response, clock, self.emit)
        self.frames_used = self.dropped = 0
        self.urge = self.lag_s = 0.0
        self.t = 0.0                       # stream time of the newest frame
        self._recent: deque[Frame] = deque(maxlen=RECENT_FRAMES)
        self._faults: deque[float] = deque(maxlen=MAX_FAULTS + 1)

    # ------------------------------------------------------------ events

    def emit(self, kind: type[Event], t: float, **fields) -> None:
        """Send an event; what belongs to the conversation is kept for pages that come back."""
        event = kind(t=round(t, 3), wall=self.clock.wall(), **fields)
        if isinstance(event, Answer | Remark | Alert | Failed | Notice):
            self.transcript.append(event)
        self._emit(event)

    @property
    def busy(self) -> bool:
        """True while there is something to say; a question waits for the first frame."""
        return self.frames_held and self.speaker.has_something

    @property
    def frames_held(self) -> bool:
        """True once a frame of this stream was seen."""
        return bool(self._recent)

    # ------------------------------------------------------------ frames

    def observe(self, frame: Frame) -> None:
        """Take one frame: memory, then rules, then whether to comment."""
        self.t = frame.pts
        self._recent.append(frame)
        change = self.engine.observe(frame)
        self.frames_used += 1
        self._archive(frame)
        signals = FrameSignals(
            t=frame.pts,
            frame=frame.index,
            change=change.change, novelty=change.novelty,
            motion=self._motion.update(frame.image),
            p_silence=change.p_silence, news=change.news,
            assistant_speaking=self.speaker.speaking is not None,
            pending_query=self.speaker.pending_query,
            lag_s=self.lag_s,
        )
        for rule in self.rules.check(frame.pts, lambda s: self.engine.probe(s, frame.pts)):
            self._alert(rule, frame.pts)
        for rule in self.rules.take_broken():
            self.emit(Notice, frame.pts, text=f'The rule "{rule.text}" cannot be checked; removed.')
            self.emit(Rules, frame.pts, rules=self.rules.view())
        self._consider(signals)

    def _archive(self, frame: Frame) -> None:
        """Keep its picture, and those that are or may be cited before others."""
        self.archive.add(frame.index, frame.pts, jpeg(frame.image, THUMBNAIL_SIDE))
        if self.frames_used % PROTECT_EVERY == 0:
            cited = {seen["frame"] for e in self.transcript for seen in getattr(e, "evidence", ())}
            self.archive.protect(self.engine.memory.held_frames() | cited)
        self._tell_faults(frame.pts)

    def _tell_faults(self, t: float) -> None:
        for fault in (self.archive.fault, self.engine.memory.fault):
            if fault and fault not in self._told and len(self._told) < MAX_TOLD:
                self._told.add(fault)
                self.emit(Notice, t, text=fault)

    def _alert(self, rule: Rule, t: float) -> None:
        seen = {"t": round(t, 3), "frame": self._recent[-1].index}
        self.emit(
            Alert, t, rule=rule.text, rule_t=rule.since, text=rule.condition, rule_id=rule.id,
            score=round(rule.last_score, 3), evidence=[seen],
        )

    def _consider(self, signals: FrameSignals) -> None:
        self.urge = self.response.score(signals)
        decision = self.gate.decide(signals, self.urge)
        if decision.action == "speak" and self.commentary:
            self.speaker.remark_due = decision

    # ------------------------------------------------------------ commands

    def submit(self, command: Command, t: float) -> None:
        """Carry out or queue a command; raises StreamAssistError when it cannot be accepted."""
        match command:
            case Query(text=text, pts=pts):
                self._accept_question(text, t if pts is None else pts)
            case Interrupt():
                self.speaker.stop(self.engine, self.dropped)
            case AddRule(text=text, pts=pts):
                self._add_rule(text, t if pts is None else pts)
            case RemoveRule(rule_id=rule_id):
                self.rules.remove(rule_id)
                self.emit(Rules, t, rules=self.rules.view())
            case Configure():
                self._configure(command)
            case Forget():
                self._forget(command)
            case NewStream():
                self._new_stream()

    def _accept_question(self, text: str, t: float) -> None:
        text = text.strip()
        if not text:
            raise StreamAssistError("The question is empty; type a few words.")
        if len(text) > MAX_QUESTION:
            raise StreamAssistError(f"The question is longer than {MAX_QUESTION} characters.")
        if is_rule(text):
            self._add_rule(text, t)
            return
        self.speaker.accept(text, t, self.engine)
        if not self.frames_held:
            self.emit(Notice, t, text="There is no picture yet; I answer when the first one comes.")

    def _add_rule(self, text: str, t: float) -> None:
        rule = self.rules.add(text, t)
        self.emit(Notice, t, text=f"Watching: {rule.condition}.")
        self.emit(Rules, t, rules=self.rules.view())

    def _configure(self, command: Configure) -> None:
        if command.threshold is not None:
            check_range("The threshold", command.threshold, 0, 1)
            self.gate.threshold = command.threshold
        if command.commentary is not None:
            self.commentary = command.commentary
            if not self.commentary:
                self.speaker.drop_remark(self.engine)

    def _forget(self, command: Forget) -> None:
        if command.minutes is not None and not command.minutes > 0:
            raise StreamAssistError("Say how many minutes to forget: a number above 0.")
        since = None if command.minutes is None else self.t - 60 * command.minutes
        if since is None or since <= 0:
            self._forget_all()
        else:
            self._forget_since(since)
        if command.rules:
            self.rules.rules.clear()
        self.emit(Forgotten, self.t, since=since)
        self.emit(Rules, self.t, rules=self.rules.view())
        self._tell_faults(self.t)   # what could not be erased

    def _forget_all(self) -> None:
        self._new_stream()
        self.speaker.clear()
        self.archive.clear()
        self.transcript.clear()

    def _forget_since(self, since: float) -> None:
        """The stream goes on; what was seen and said before `since` stays."""
        self.speaker.stop(self.engine, self.dropped)
        self.speaker.clear()
        self.engine.forget(since)
        self.archive.forget(since)
        self._motion.reset()
        for kept in (self._recent, self.transcript):
            times = [(x.pts if isinstance(x, Frame) else x.t, x) for x in kept]
            kept.clear()
            kept.extend(x for t, x in times if t < since)

    def _new_stream(self) -> None:
        self.speaker.stop(self.engine, self.dropped)
        self.engine.reset()
        self.gate.reset()
        self.response.reset()
        self.rules.restart_clock()
        self._recent.clear()
        self._motion.reset()
        self.t, self.urge = 0.0, 0.0

    # ------------------------------------------------------------ speaking

    def advance(self, now: float) -> None:
        """Do one small piece of talking: a token, after beginning a turn if need be."""
        if self.busy:
            self.speaker.advance(self.engine, self._recent[-1], now, self.dropped, self._history)

    def _history(self) -> list[tuple[str, str]]:
        """Earlier questions and answers, for models that use them."""
        answers = [e for e in self.transcript if isinstance(e, Answer) and e.text]
        return [(a.question, a.text) for a in answers[-HISTORY_TURNS:]]

    # ------------------------------------------------------------ faults

    def recover(self, error: Exception, t: float) -> bool:
        """After an exception of the model: say so, start anew, keep what can be kept.

        Returns False when there were more than three faults within a minute: give up.
        """
        log.error("the model failed", exc_info=error)
        self._faults.append(self.clock.monotonic())
        recent = [f for f in self._faults if self._faults[-1] - f < FAULT_WINDOW_S]
        fatal = len(recent) > MAX_FAULTS
        self.emit(Failed, t, text=_sentence(error, fatal), fatal=fatal)
        self.speaker.break_off(self.dropped)
        if not fatal:
            self.engine = self.make_engine()
            for frame in self._recent:
                self.engine.observe(frame)
        return not fatal

    # ------------------------------------------------------------ for the page

    def figures(self) -> dict:
        """The session's part of `Stats`."""
        cache = self.engine.cache
        return {
            "frames_used": self.frames_used, "frames_dropped": self.dropped,
            "cache_tokens": len(cache), "cache_bytes": cache.bytes, "lag_s": round(self.lag_s, 3),
            "first_word_ms": self.speaker.first_word_ms, "urge": round(self.urge, 3),
            "threshold": self.gate.threshold, "busy": self.busy,
            "extra": {"commentary": self.commentary, "archive": self.archive.figures(),
                      **self.engine.figures()},
        }

    def history(self) -> list[dict]:
        """Event lines of the conversation so far."""
        return [event.line() for event in self.transcript.copy()]


def _sentence(error: Exception, fatal: bool) -> str:
    what = str(error) if isinstance(error, StreamAssistError) else type(error).__name__
    if fatal:
        return (
            f"The model failed again and again ({what}), so it was stopped. "
            "Your conversation is kept; restart the program or choose another model."
        )
    return (
        f"The model stumbled ({what}) and was restarted. Your conversation and rules are kept; "
        "please ask again if an answer was cut off."
    )
