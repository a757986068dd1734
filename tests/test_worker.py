"""The worker's thread: order, bounds, faults. Real threads, a real clock, the scripted model."""
import threading
import time

import numpy as np
import pytest

from app import make_timing
from desk import GREEN, RED, Desk
from models.fake import FakeLLM
from streamassist.clock import RealClock
from streamassist.config import Config, EngineConfig
from streamassist.errors import StreamAssistError
from streamassist.frames import RawFrame
from streamassist.session import Session
from streamassist.types import Answer, Failed, NewStream, Notice, Query, ReplyStarted
from streamassist.worker import MAX_COMMANDS, Worker


class Bench:
    """A worker around a Desk's engine, and what it emits."""

    def __init__(self, model: FakeLLM, config: Config | None = None):
        desk, clock = Desk(model, config), RealClock()
        self.events, self.model = [], model
        self.worker = Worker(
            lambda emit: Session(
                desk.make_engine, make_timing(desk.config), desk.config, clock, emit
            ),
            desk.config,
            clock,
        )
        self.worker.subscribe(self.events.append)

    def __enter__(self) -> "Bench":
        self.worker.start()
        return self

    def __exit__(self, *_) -> None:
        self.worker.stop()
        assert not any(t.name == "streamassist-worker" for t in threading.enumerate())

    def show(self, colour, pts: float | None = None) -> None:
        pts = self.worker.now() if pts is None else pts
        self.worker.offer(RawFrame(pts, np.full((24, 32, 3), colour, np.uint8)))

    def of(self, kind) -> list:
        return [e for e in self.events if isinstance(e, kind)]

    def wait(self, kind, count: int = 1, timeout_s: float = 20.0) -> list:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.of(kind)
            if len(found) >= count:
                return found
            time.sleep(0.01)
        raise AssertionError(f"no {kind.__name__} within {timeout_s} s: {self.events[-5:]}")


FAST = Config(response="on_query", engine=EngineConfig(fps=30))


def test_answers_while_frames_keep_coming():
    with Bench(FakeLLM(answers={"long": "word " * 12}, delay_s=0.01), FAST) as bench:
        bench.show(RED)
        bench.worker.submit(Query("long"))
        bench.wait(ReplyStarted)
        used = bench.worker.session.frames_used
        while not bench.of(Answer):
            bench.show(GREEN)
            time.sleep(0.04)
        assert bench.worker.session.frames_used - used >= 3
        assert bench.of(Answer)[0].text == ("word " * 12).strip()


def test_a_slow_model_drops_the_oldest_frames_and_counts_them():
    with Bench(FakeLLM(delay_s=0.2), FAST) as bench:
        for i in range(30):
            bench.show(RED, i * 0.04)
            time.sleep(0.005)
        bench.show(GREEN, 2.0)
        deadline = time.monotonic() + 10
        while bench.worker.busy and time.monotonic() < deadline:
            time.sleep(0.02)
        session = bench.worker.session
        assert session.t == 2.0                         # the newest was not dropped
        assert bench.worker.frames.dropped >= 20
        assert bench.worker.figures().frames_dropped >= 20


def test_commands_are_refused_at_the_door_but_never_lost():
    bench = Bench(FakeLLM())      # not started: nothing is taken out
    for i in range(MAX_COMMANDS):
        bench.worker.submit(Query(f"What {i}?"))
    with pytest.raises(StreamAssistError, match="waiting already"):
        bench.worker.submit(Query("What?"))
    bench.worker.submit(NewStream())      # but another source can always be chosen


def test_a_refused_question_is_told_in_the_page():
    with Bench(FakeLLM()) as bench:
        bench.worker.submit(Query("   "))
        assert "empty" in bench.wait(Notice)[0].text


def test_a_broken_picture_is_skipped():
    with Bench(FakeLLM(), FAST) as bench:
        bench.worker.offer(RawFrame(0.0, b"not a jpeg"))
        bench.show(RED, 1.0)
        bench.worker.submit(Query("What?"))
        assert bench.wait(Answer)[0].text == "I see a dark red picture."


def test_an_exception_in_the_model_is_told_and_survived():
    with Bench(FakeLLM(), FAST) as bench:
        bench.show(RED)
        bench.worker.submit(Query("please fail"))
        assert "restarted" in bench.wait(Failed)[0].text
        bench.worker.submit(Query("What?"))
        assert bench.wait(Answer, 2)[-1].text == "I see a dark red picture."


def test_too_many_faults_stop_the_worker_with_a_reason():
    with Bench(FakeLLM(), FAST) as bench:
        bench.show(RED)
        for _ in range(4):
            bench.worker.submit(Query("please fail"))
        last = bench.wait(Failed, 4)[-1]
        assert last.fatal and "restart the program" in last.text
        bench.worker._thread.join(5)
        with pytest.raises(StreamAssistError, match="restart the program"):
            bench.worker.submit(Query("What?"))


def test_a_listener_that_fails_disturbs_nobody():
    bench = Bench(FakeLLM(), FAST)
    bench.worker.subscribe(lambda event: 1 / 0)
    with bench:
        bench.show(RED)
        bench.worker.submit(Query("What?"))
        assert bench.wait(Answer)


def test_a_new_stream_starts_the_clock_again():
    with Bench(FakeLLM(), FAST) as bench:
        bench.show(RED, 0.0)
        time.sleep(0.3)
        bench.worker.submit(NewStream())
        assert bench.worker.now() < 0.2
        bench.show(GREEN, 0.0)
        bench.worker.submit(Query("What?"))
        assert bench.wait(Answer)[0].text == "I see a dark green picture."


def test_time_never_runs_back_within_a_stream():
    bench = Bench(FakeLLM(), FAST)
    for pts in (1.0, 0.2, 1.5):
        bench.show(RED, pts)
    times = [bench.worker.frames.take().pts for _ in range(len(bench.worker.frames))]
    assert times == [1.0, 1.5]
