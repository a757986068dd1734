"""A video file through the whole assistant, as event lines: for debugging and for benchmarks.

By default in stream time: every sampled frame is used, a question asked at t sees the frames up to
t, and the same input gives the same output. With `real_time` the file plays like a camera through
the worker's thread, frames may be dropped, and the times are those a user would have felt.
"""
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from queue import Empty, Queue

from streamassist.clock import Clock
from streamassist.config import Config
from streamassist.errors import StreamAssistError
from streamassist.frames import RawFrame
from streamassist.ingest import ahead, frames_in_parts, in_groups
from streamassist.session import Session
from streamassist.types import (
    AddRule,
    Alert,
    Answer,
    Command,
    Event,
    Failed,
    Frame,
    Notice,
    Query,
    Remark,
    Stats,
)
from streamassist.video import VideoFile
from streamassist.worker import Worker

MakeSession = Callable[[Callable[[Event], None]], Session]

STATS_EVERY_S = 10.0
POLL_S = 0.01
MAX_EVENTS = 1000
KEPT = (Answer, Remark, Alert, Failed, Notice, Stats)
_TIMED = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*:\s*(.*)$", re.DOTALL)


def parse_timed(text: str, option: str) -> tuple[float, str]:
    """"12.0:What is this?" -> (12.0, "What is this?"); without a time, 0."""
    match = _TIMED.match(text)
    t, words = (float(match[1]), match[2]) if match else (0.0, text)
    if not words.strip():
        raise StreamAssistError(
            f'{option} needs words after the time, such as "12.0:What is this?"'
        )
    return t, words.strip()


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user does, and when: commands by stream time."""

    commands: tuple[tuple[float, Command], ...] = ()

    @classmethod
    def parse(cls, asks: list[str], watches: list[str]) -> "Plan":
        timed = [parse_timed(a, "--ask") for a in asks]
        commands: list[tuple[float, Command]] = [(t, Query(text, t)) for t, text in timed]
        for t, text in (parse_timed(w, "--watch") for w in watches):
            commands.append((t, AddRule(text, t)))
        return cls(tuple(sorted(commands, key=lambda c: c[0])))


def replay(
    video: VideoFile, make_session: MakeSession, config: Config, plan: Plan,
    together: int = 1, prepare: Callable[[list[Frame]], None] | None = None,
) -> Iterator[Event]:
    """Stream time, nothing dropped, deterministic but for wall-clock fields.

    prepare: told which frames come next, `together` at a time, so that they can be encoded at once.
    """
    events: list[Event] = []
    session = make_session(events.append)
    waiting, t, stats_due, seen = list(plan.commands), 0.0, STATS_EVERY_S, 0
    shots = ahead(frames_in_parts(video, config.engine.fps))
    frames = (Frame(image, pts, index) for index, (image, pts) in enumerate(shots))
    for frame in in_groups(frames, together, prepare) if prepare else frames:
        while waiting and waiting[0][0] < frame.pts:
            t = max(t, waiting[0][0])
            _submit(session, waiting.pop(0)[1], t)
            _talk(session, t, config.engine.tokens_per_turn)
        t, seen = frame.pts, frame.index + 1
        _guarded(session, t, partial(session.observe, frame))
        _talk(session, t, config.engine.tokens_per_turn)
        if t >= stats_due:
            events.append(_stats(session, t, seen))
            stats_due += STATS_EVERY_S
        yield from _drain(events)
    for at, command in waiting:
        _submit(session, command, max(t, at))
    while session.busy:
        _talk(session, t, config.engine.tokens_per_turn)
    events.append(_stats(session, t, seen))
    yield from _drain(events)


def _drain(events: list[Event]) -> Iterator[Event]:
    yield from (e for e in events if isinstance(e, KEPT))
    events.clear()


def _submit(session: Session, command: Command, t: float) -> None:
    try:
        session.submit(command, t)
    except StreamAssistError as error:
        session.emit(Notice, t, text=str(error))


def _talk(session: Session, t: float, tokens: int) -> None:
    for _ in range(tokens):
        if session.busy:
            _guarded(session, t, partial(session.advance, t))


def _guarded(session: Session, t: float, action: Callable[[], None]) -> None:
    try:
        action()
    except Exception as error:
        if not session.recover(error, t):
            raise StreamAssistError(
                "The model failed more than three times within a minute; the replay was stopped."
            ) from error


def _stats(session: Session, t: float, seen: int) -> Stats:
    wall = session.clock.wall()
    return Stats(t=round(t, 3), wall=wall, frames_seen=seen, **session.figures())


def replay_real_time(
    video: VideoFile, make_session: MakeSession, config: Config, plan: Plan, clock: Clock
) -> Iterator[Event]:
    """Play the file at its own speed through a worker; events come as they happen."""
    worker = Worker(make_session, config, clock)
    out: Queue[Event] = Queue(MAX_EVENTS)   # when full, the worker waits for the writer
    worker.subscribe(lambda e: out.put(e) if isinstance(e, KEPT) else None)
    waiting, last_stats = list(plan.commands), 0.0
    frames = iter(video.frames(config.engine.fps))
    upcoming = next(frames, None)
    worker.start()
    try:
        while upcoming or waiting or worker.busy:
            now = worker.now()
            while waiting and waiting[0][0] <= now:
                worker.submit(waiting.pop(0)[1])
            if upcoming and upcoming[1] <= now:
                worker.offer(RawFrame(upcoming[1], upcoming[0]))
                upcoming = next(frames, None)
            for event in _until(out, POLL_S):
                if isinstance(event, Stats):
                    if event.t - last_stats < STATS_EVERY_S:
                        continue
                    last_stats = event.t
                yield event
    finally:
        worker.stop()
    yield from (e for e in _until(out, 0.0) if not isinstance(e, Stats))
    yield worker.figures()


def _until(out: "Queue[Event]", timeout_s: float) -> Iterator[Event]:
    """Everything that is there; waits at most `timeout_s` for the first."""
    try:
        yield out.get(timeout=timeout_s) if timeout_s > 0 else out.get_nowait()
        while True:
            yield out.get_nowait()
    except Empty:
        return
