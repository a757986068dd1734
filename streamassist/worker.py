"""The one thread that owns the model: commands first, then frames and words in turns.

Frames are bounded (the oldest is dropped and counted), commands are refused at the door when too
many wait, events go out in order and are never dropped here.
"""
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from threading import Condition, Thread

from streamassist.clock import Clock
from streamassist.config import Config
from streamassist.errors import StreamAssistError
from streamassist.frames import FrameBuffer, FrameSampler, RawFrame
from streamassist.metrics import Rate
from streamassist.session import Session
from streamassist.types import Command, Event, Forget, NewStream, Notice, Rules, Stats

log = logging.getLogger(__name__)

MAX_COMMANDS = 64
MAX_FRAMES = 2          # waiting frames; more would only be older
STATS_EVERY_S = 0.5
RULES_EVERY_S = 2.0     # so that a page sees when each was last checked

Listener = Callable[[Event], None]


class Worker:
    """`offer` and `submit` may be called from any thread; listeners are called from the worker's
    own thread and must not block."""

    def __init__(self, make_session: Callable[[Listener], Session], config: Config, clock: Clock):
        self.config, self.clock = config, clock
        self.session = make_session(self._emit)
        self.frames = FrameBuffer(MAX_FRAMES)
        self.stats: Stats | None = None
        self.dead = False
        self._sampler = FrameSampler(config.engine.fps)
        self._inbox: deque[Command] = deque()   # bounded in submit
        self._announcements: deque[str] = deque(maxlen=MAX_COMMANDS)
        self._listeners: list[Listener] = []
        self._wake = Condition()
        self._running, self._idle = False, False   # idle: seen to have nothing to do
        self._thread: Thread | None = None
        self._tokens_since_frame = 0
        self._seen, self._last_pts = 0, 0.0
        self._source_rate, self._used_rate = Rate(), Rate()
        self._origin = clock.monotonic()
        self._last_stats = self._last_rules = float("-inf")

    # ------------------------------------------------------------ any thread

    def start(self) -> None:
        self._running = True
        self._thread = Thread(target=self._run, name="streamassist-worker", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        with self._wake:
            self._running = False
            self._wake.notify()
        if self._thread:
            self._thread.join(timeout_s)

    def now(self) -> float:
        """Stream time: seconds since the stream began, pauses included."""
        return self.clock.monotonic() - self._origin

    def offer(self, raw: RawFrame) -> None:
        """Hand over a frame; it is kept if one is due at the configured rate."""
        with self._wake:
            self._seen += 1
            self._source_rate.tick(self.clock.monotonic())
            self._last_pts = max(self._last_pts, raw.pts)   # time never runs back in a stream
            if not self._sampler.due(self._last_pts):
                return
            self.frames.put(replace(raw, pts=self._last_pts))
            self._wake.notify()

    def submit(self, command: Command) -> None:
        """Queue a command; raises StreamAssistError when too many wait or the worker gave up."""
        with self._wake:
            if self.dead:
                raise StreamAssistError("The model has stopped; restart the program.")
            if isinstance(command, NewStream):
                self._begin_stream()
            elif isinstance(command, Forget):
                self.frames.clear()
            elif len(self._inbox) >= MAX_COMMANDS:
                raise StreamAssistError("Too much is waiting already; try again in a moment.")
            self._inbox.append(command)
            self._wake.notify()

    @property
    def busy(self) -> bool:
        """True while a command, a frame or something to say waits."""
        waits = self._inbox or len(self.frames) or self.session.busy
        return not self.dead and bool(waits or not self._idle)

    def _begin_stream(self) -> None:
        """From now on frames belong to another stream; those waiting are of the old one."""
        self.frames.clear()
        self._sampler.reset()
        self._last_pts = 0.0
        self._origin = self.clock.monotonic()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def announce(self, text: str) -> None:
        """Plain information for the user, in the transcript too."""
        with self._wake:
            self._announcements.append(text)
            self._wake.notify()

    # ------------------------------------------------------------ the worker's thread

    def _emit(self, event: Event) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed on %s", event.type)

    def _run(self) -> None:
        while self._running and not self.dead:
            try:
                if not self._work():
                    self._rest()
            except Exception as error:
                self._recover(error)

    def _recover(self, error: Exception) -> None:
        try:
            self.dead = not self.session.recover(error, self.now())
        except Exception as again:   # the restart itself failed: it counts as the next fault
            self._recover(again)

    def _rest(self) -> None:
        with self._wake:
            if self._running and not (self._inbox or self._announcements or len(self.frames)):
                self._idle = True
                self._wake.wait(STATS_EVERY_S)
                self._idle = False

    def _work(self) -> bool:
        """Do the most urgent piece; False when there was nothing to do."""
        self._report()
        if self._obey() or self._tell():
            return True
        talk_first = self.session.busy and (
            self._tokens_since_frame < self.config.engine.tokens_per_turn
        )
        if not talk_first and self._watch():
            self._tokens_since_frame = 0
            return True
        if self.session.busy:
            self._tokens_since_frame += 1
            self.session.advance(self.now())
            return True
        return False

    def _obey(self) -> bool:
        with self._wake:
            command = self._inbox.popleft() if self._inbox else None
        if command is None:
            return False
        try:
            self.session.submit(command, self.now())
        except StreamAssistError as error:
            self.session.emit(Notice, self.now(), text=str(error))
        return True

    def _tell(self) -> bool:
        if not self._announcements:
            return False
        self.session.emit(Notice, self.now(), text=self._announcements.popleft())
        return True

    def _watch(self) -> bool:
        raw = self.frames.take()
        if raw is None:
            return False
        try:
            frame = raw.decode()
        except StreamAssistError as error:
            log.warning("skipped a frame: %s", error)
            return True
        self.session.lag_s = max(0.0, self.now() - raw.pts)
        self.session.dropped = self.frames.dropped
        self.session.observe(frame)
        self._used_rate.tick(self.clock.monotonic())
        return True

    def _report(self) -> None:
        now = self.clock.monotonic()
        if now - self._last_stats >= STATS_EVERY_S:
            self._last_stats = now
            self.stats = self.figures()
            self._emit(self.stats)
        if self.session.rules.rules and now - self._last_rules >= RULES_EVERY_S:
            self._last_rules = now
            self.session.emit(Rules, self.now(), rules=self.session.rules.view())

    def figures(self) -> Stats:
        """The counters as they stand."""
        now = self.clock.monotonic()
        return Stats(
            t=round(self.now(), 3), wall=self.clock.wall(), frames_seen=self._seen,
            source_fps=self._source_rate.per_second(now), used_fps=self._used_rate.per_second(now),
            **self.session.figures(),
        )
