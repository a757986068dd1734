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
from streamassist.commands import carry_out
from streamassist.config import Config
from streamassist.engine import Engine
from streamassist.faults import FaultCount, sentence
from streamassist.frames import jpeg
from streamassist.response.trace import Stretch
from streamassist.rule_desk import RuleDesk
from streamassist.rules import RuleBook
from streamassist.rules.store import RuleStore
from streamassist.speaker import Speaker
from streamassist.timing import Moment, Timing
from streamassist.tools import Helpers
from streamassist.tools.base import ToolDesk
from streamassist.types import (
    Alert,
    Answer,
    Command,
    Event,
    Failed,
    Frame,
    Note,
    Notice,
    Remark,
    Why,
)

log = logging.getLogger(__name__)

MAX_TRANSCRIPT = 2000      # events kept for pages that come back
RECENT_FRAMES = 8          # prefilled again after a fault
HISTORY_TURNS = 8          # at most this many are offered to the model
THUMBNAIL_SIDE, THUMBNAIL_BYTES = 160, 32 << 20   # pixels; all that are in RAM
PROTECT_EVERY = 16         # frames
MAX_TOLD = 20              # sentences about a disk; more are in the log


class Session:
    """`emit` receives every event, in order. `t` is always stream time in seconds."""

    def __init__(
        self, make_engine: Callable[[], Engine], timing: Timing, config: Config, clock: Clock,
        emit: Callable[[Event], None], store: RuleStore | None = None,
        helpers: Helpers | None = None,
    ):
        self.make_engine, self.timing, self.config = make_engine, timing, config
        self.clock, self._emit = clock, emit
        self.engine = make_engine()
        self.archive = Archive(THUMBNAIL_BYTES, *config.kept("thumbnails"))
        self.desk = RuleDesk(timing, self.archive, clock, self.emit, store)
        self._told: set[str] = set()       # faults of a disk
        self.transcript: deque[Event] = deque(maxlen=MAX_TRANSCRIPT)
        self.commentary = True
        self.speaker = Speaker(timing, clock, self.emit, helpers, self._look)
        self.frames_used = self.dropped = 0
        self.lag_s = 0.0
        self.t = 0.0                       # stream time of the newest frame
        self.recent: deque[Frame] = deque(maxlen=RECENT_FRAMES)
        self._faults = FaultCount(clock)

    # ------------------------------------------------------------ events

    def emit(self, kind: type[Event], t: float, **fields) -> None:
        """Send an event; what belongs to the conversation is kept for pages that come back."""
        event = kind(t=round(t, 3), wall=self.clock.wall(), **fields)
        if isinstance(event, Answer | Remark | Alert | Failed | Notice | Note):
            self.transcript.append(event)
        self._emit(event)

    @property
    def busy(self) -> bool:
        """True while there is something to say, to note or to try; a question waits for the first
        frame."""
        return self.frames_held and (
            self.speaker.has_something or self.desk.trying or self.engine.note_due(self.t)
        )

    @property
    def frames_held(self) -> bool:
        """True once a frame of this stream was seen."""
        return bool(self.recent)

    # ------------------------------------------------------------ frames

    def observe(self, frame: Frame) -> None:
        """Take one frame: memory, then rules, then whether to comment."""
        self.t = frame.pts
        self.recent.append(frame)
        change = self.engine.observe(frame)
        self.frames_used += 1
        self._archive(frame)
        speaker = self.speaker
        moment = Moment(
            self.lag_s, assistant_speaking=speaker.speaking is not None,
            pending_query=speaker.pending_query, wall=self.clock.wall(),
        )
        verdict = self.timing.after(frame, change, self.engine, moment)
        for rule in verdict.alerts:
            self.desk.fired(rule, frame.pts, frame.index)
            if rule.asks and not speaker.full:
                speaker.accept(rule.condition, frame.pts, self.engine)
        self.desk.tell(frame.pts)
        if verdict.ended:
            self._tell_why(verdict.ended)
        self.engine.note_due(frame.pts)   # the clip to take a note about has begun
        if verdict.decision.action == "speak" and self.commentary:
            speaker.remark_due = verdict.decision

    @property
    def rules(self) -> RuleBook:
        return self.timing.rules

    def _look(self) -> ToolDesk:
        """What tools may look at now."""
        return ToolDesk(
            self.engine, tuple(self.recent), self.archive.frames, self.archive.get,
            tuple(self.transcript), self.t, self.clock.wall(),
        )

    def _tell_why(self, stretch: Stretch) -> None:
        line = stretch.line()
        self.emit(Why, line.pop("t"), **line)

    def _archive(self, frame: Frame) -> None:
        """Keep its picture, and those that are or may be cited before others."""
        self.archive.add(frame.index, frame.pts, jpeg(frame.image, THUMBNAIL_SIDE))
        if self.frames_used % PROTECT_EVERY == 0:
            cited = {seen["frame"] for e in self.transcript for seen in getattr(e, "evidence", ())}
            self.archive.protect(self.engine.memory.held_frames() | cited)
        self.tell_faults(frame.pts)

    def tell_faults(self, t: float) -> None:
        """Of the disk, each once."""
        for fault in (self.archive.fault, self.engine.memory.fault):
            if fault and fault not in self._told and len(self._told) < MAX_TOLD:
                self._told.add(fault)
                self.emit(Notice, t, text=fault)

    # ------------------------------------------------------------ commands

    def submit(self, command: Command, t: float) -> None:
        """Carry out or queue a command; raises StreamAssistError when it cannot be accepted."""
        carry_out(self, command, t)

    def new_stream(self) -> None:
        """Another source begins: what was seen is dropped, what was said stays."""
        self.speaker.stop(self.engine, self.dropped)
        self.engine.reset()
        self.desk.stop_trying()
        self.timing.reset()
        self.recent.clear()
        self.t = 0.0

    # ------------------------------------------------------------ speaking

    def advance(self, now: float) -> None:
        """Do one small piece of talking: a token, after beginning a turn if need be; else of a note
        to itself; else look at a picture for a rule that is tried."""
        if not self.busy:
            return
        if self.speaker.has_something:
            self.speaker.advance(self.engine, self.recent[-1], now, self.dropped, self._history)
        elif self.engine.note_due(self.t):
            self._note()
        else:
            self.desk.step(self.engine)

    def _note(self) -> None:
        """Begin a note, or write a token of it."""
        if self.engine.turn is None:
            self.engine.note(self.t)
            return
        self.engine.step()
        if self.engine.turn.done and (noted := self.engine.close()):
            self.emit(Note, noted.t, since=noted.since, text=noted.text)

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
        fatal = self._faults.too_many()
        self.emit(Failed, t, text=sentence(error, fatal), fatal=fatal)
        self.speaker.break_off(self.dropped)
        if not fatal:
            self.engine = self.make_engine()
            for frame in self.recent:
                self.engine.observe(frame)
        return not fatal

    # ------------------------------------------------------------ for the page

    def figures(self) -> dict:
        """The session's part of `Stats`."""
        cache = self.engine.cache
        return {
            "frames_used": self.frames_used, "frames_dropped": self.dropped,
            "cache_tokens": len(cache), "cache_bytes": cache.bytes, "lag_s": round(self.lag_s, 3),
            "first_word_ms": self.speaker.first_word_ms, "urge": round(self.timing.urge, 3),
            "threshold": self.timing.gate.threshold, "busy": self.busy,
            "extra": {"commentary": self.commentary,
                      "remarks_per_minute": round(60 / self.timing.gate.refill_s, 2),
                      "archive": self.archive.figures(),
                      **self.engine.figures()},
        }

    def history(self) -> list[dict]:
        """Event lines of the conversation so far."""
        return [event.line() for event in self.transcript.copy()]
