"""Live sources: their names, secrets, pace, death and return."""
import socket
import threading
import time

import av
import pytest

from samples import index_of
from streamassist import sources
from streamassist.errors import StreamAssistError
from streamassist.sources import SourceRunner, parse_source, redact

# ---------------------------------------------------------------- names of sources


@pytest.mark.parametrize(
    "spec, kind, where",
    [
        ("sample", "sample", ""),
        ("browser", "browser", ""),
        ("camera:0", "camera", "0"),
        ("/dev/video2", "camera", "2"),
        ("rtsp://h:554/x", "rtsp", "rtsp://h:554/x"),
        ("file:/a b/c.mp4", "file", "/a b/c.mp4"),
        ("clip.mp4", "file", "clip.mp4"),
    ],
)
def test_specs(spec, kind, where):
    assert parse_source(spec) == sources.Source(kind, where)


@pytest.mark.parametrize(
    "spec, sentence",
    [
        ("", "No source was named"),
        ("camera:front", "by its number"),
        ("rtsp://", "not a complete address"),
        ("rtsp://u:secret@h:port/x", "not a complete address"),
    ],
)
def test_bad_specs(spec, sentence):
    with pytest.raises(StreamAssistError, match=sentence) as caught:
        parse_source(spec)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://me:secret@cam/x",
        "open rtsp://me:sec@secret/@cam failed",
        "rtsp://cam/x?user=me&pwd=secret",
        "rtsp://cam/x?a=1&token=secret",
    ],
)
def test_secrets_are_redacted(text):
    clean = redact(text)
    assert "cam" in clean and "secret" not in clean and "me" not in clean


def test_no_such_camera_is_told_at_once():
    with pytest.raises(StreamAssistError, match=r"no camera 97 \(/dev/video97\)"):
        SourceRunner("camera:97", print, print)


# ---------------------------------------------------------------- the runner


class Listener:
    """Takes what a runner offers and says; `wait_for` returns once enough came, or fails."""

    def __init__(self):
        self.frames, self.words = [], []
        self.changed = threading.Condition()

    def offer(self, frame):
        with self.changed:
            self.frames.append(frame)
            self.changed.notify()

    def notify(self, text):
        with self.changed:
            self.words.append(text)
            self.changed.notify()

    def wait_for(self, ready, timeout_s=10.0):
        with self.changed:
            assert self.changed.wait_for(ready, timeout_s), (len(self.frames), self.words)


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def run(listener):
    """run(spec, ...) starts a runner that is stopped at the end."""
    runners = []

    def start(spec, **options) -> SourceRunner:
        runner = SourceRunner(str(spec), listener.offer, listener.notify, **options)
        runners.append(runner)
        runner.start()
        return runner

    yield start
    for runner in runners:
        runner.stop()


def test_a_file_is_played_in_real_time_and_its_end_announced(tiny_video, listener, run):
    run(tiny_video, fps=5, loop=False)
    listener.wait_for(lambda: listener.words)
    assert listener.words == ["The video has ended."]
    assert [index_of(f.data) for f in listener.frames] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    late = [f.pts - i / 5 for i, f in enumerate(listener.frames)]
    assert min(late) > -1e-3      # never early


def test_the_file_waits_for_the_clock(tiny_video, listener, run, clock):
    run(tiny_video, fps=2, clock=clock)
    listener.wait_for(lambda: len(listener.frames) == 1)
    clock.now = 0.5
    listener.wait_for(lambda: len(listener.frames) == 2)
    assert [f.pts for f in listener.frames] == [0.0, 0.5]


def test_pause_is_a_gap_in_time(tiny_video, listener, run, clock):
    runner = run(tiny_video, fps=2, clock=clock)
    listener.wait_for(lambda: len(listener.frames) == 1)
    runner.pause(True)
    clock.now = 100.0
    runner.pause(False)
    listener.wait_for(lambda: len(listener.frames) == 2)
    assert listener.frames[1].pts == 100.0 and index_of(listener.frames[1].data) == 5


def test_stop_is_quick_and_final(tiny_video, listener, run):
    runner = run(tiny_video, fps=10)
    listener.wait_for(lambda: listener.frames)
    began = time.monotonic()
    runner.stop()
    assert time.monotonic() - began < 1.0
    assert not runner.running and not runner._thread.is_alive()


def test_a_stopped_runner_that_never_started(tiny_video, listener):
    SourceRunner(str(tiny_video), listener.offer, listener.notify).stop()
    assert not listener.frames


def test_a_dead_address_is_announced_once_without_its_password(listener, run, monkeypatch):
    monkeypatch.setattr(sources, "BACKOFF_S", (0.01,))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runner = run(f"rtsp://me:secret@127.0.0.1:{port}/x")
    wait_until(lambda: runner._failures > 3)
    assert len(listener.words) == 1
    assert "connection was refused" in listener.words[0] and "secret" not in listener.words[0]


def test_a_lost_stream_is_tried_again_and_its_return_announced(
    tiny_video, listener, run, monkeypatch
):
    """A clip stands in for the camera: it ends (the stream is lost), then opens again."""
    monkeypatch.setattr(sources, "BACKOFF_S", (0.01,))
    monkeypatch.setattr(sources, "open_live", lambda _source: av.open(str(tiny_video)))
    run("rtsp://me:secret@cam/x", fps=30)
    listener.wait_for(lambda: len(listener.words) >= 2)
    assert listener.words[0] == "No picture from rtsp://***@cam/x: it ended. Trying again."
    assert listener.words[1] == "The picture from rtsp://***@cam/x is back after 0 s."
    assert all(index_of(f.data) >= 0 for f in listener.frames)


class Camera:
    """A clip that plays the camera and knows whether it is open."""

    is_open = False

    def __init__(self, path):
        self.container = av.open(str(path))
        self.streams, self.demux = self.container.streams, self.container.demux

    def __enter__(self):
        self.is_open = True
        return self

    def __exit__(self, *_):
        self.is_open = False
        self.container.close()


def test_a_paused_live_source_is_closed(tiny_video, listener, run, monkeypatch):
    opened = []

    def open_again(_source):
        opened.append(Camera(tiny_video))
        return opened[-1]

    monkeypatch.setattr(sources, "BACKOFF_S", (0.01,))
    monkeypatch.setattr(sources, "open_live", open_again)
    runner = run("rtsp://cam/x", fps=1000)
    listener.wait_for(lambda: listener.frames)
    runner.pause(True)
    wait_until(lambda: not opened[-1].is_open)
    count = len(opened)
    runner.pause(False)
    wait_until(lambda: len(opened) > count)


def wait_until(ready, timeout_s=10.0):
    gate, end = threading.Event(), time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < end
        gate.wait(0.01)


def test_the_wait_between_attempts_grows_to_half_a_minute(listener, monkeypatch):
    runner = SourceRunner("rtsp://cam/x", listener.offer, listener.notify)
    waits = []
    monkeypatch.setattr(runner._stop, "wait", waits.append)
    for _ in range(8):
        runner._lost(ConnectionRefusedError())
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
