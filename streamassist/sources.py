"""Live sources on the server's side: which there are, and the thread that reads one of them."""
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np

from streamassist.clock import Clock, RealClock
from streamassist.errors import StreamAssistError
from streamassist.frames import FrameSampler, RawFrame
from streamassist.sample import sample_clip
from streamassist.video import VideoFile, decoded, open_video, pixel_shape, upright, video_stream

BACKOFF_S = (1, 2, 4, 8, 16, 30)
TIMEOUT_S = (5.0, 5.0)      # to open, to read
POLL_S = 0.05               # how soon stop and pause are noticed
LATE_S = 1.0                # a file this far behind goes on from where it is, slower than life
RTSP_OPTIONS = {
    "rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay", "max_delay": "0",
    "probesize": "32768", "analyzeduration": "0",
}
CAMERA_OPTIONS = {"video_size": "640x480", "framerate": "30", "input_format": "mjpeg"}
SECRET = re.compile(r"([?&](?:pass\w*|pwd|token|key|secret|auth|user\w*)=)[^&\s]*", re.IGNORECASE)

log = logging.getLogger(__name__)


def redact(text: str) -> str:
    """The text without the user names, passwords and tokens of the URLs in it."""
    return SECRET.sub(r"\1***", re.sub(r"(\w+://).*@", r"\1***@", text, flags=re.DOTALL))


@dataclass(frozen=True, slots=True)
class Source:
    """`kind`: sample, file, rtsp, camera, browser (frames come from a page) or none."""

    kind: str
    where: str = ""

    def __str__(self) -> str:
        """How to call it in front of people: no password, no folder of this computer."""
        names = {
            "sample": "the sample clip", "camera": f"camera {self.where}",
            "file": Path(self.where).name, "rtsp": redact(self.where),
        }
        return names.get(self.kind, self.kind)


def parse_source(spec: str) -> Source:
    """"sample", "browser", "none", "camera:0", "/dev/video0", "rtsp://...", "file:PATH" or PATH."""
    spec = spec.strip()
    if spec in ("sample", "browser", "none"):
        return Source(spec)
    if camera := re.fullmatch(r"(?:camera:|/dev/video)(.*)", spec):
        return _camera(camera[1])
    if re.match(r"rtsps?://", spec, re.IGNORECASE):
        return _rtsp(spec)
    path = spec.removeprefix("file:")
    if not path:
        raise StreamAssistError(
            "No source was named; use a file, rtsp://..., camera:0, browser or sample."
        )
    return Source("file", path)


def _camera(number: str) -> Source:
    if not number.isdecimal():
        raise StreamAssistError(f"Camera {number!r} is unknown; name it by its number: camera:0.")
    return Source("camera", number)


def _rtsp(url: str) -> Source:
    try:
        parts = urlsplit(url)
        port_ok = bool(parts.hostname) and (parts.port or True)
    except ValueError:
        port_ok = False
    if not port_ok:
        raise StreamAssistError(
            f"{redact(url)} is not a complete address; "
            "write rtsp://HOST:554/PATH as the camera's manual gives it."
        )
    return Source("rtsp", url)


def open_source(source: Source) -> VideoFile | None:
    """Open a file now, None for what has none; raises StreamAssistError for what cannot work."""
    if source.kind == "camera":
        check_camera(source.where)
    if source.kind == "sample":
        return open_video(sample_clip())
    return open_video(source.where) if source.kind == "file" else None


class SourceRunner:
    """One thread that reads a server-side source and offers its frames.

    spec: see `parse_source`, except browser and none. offer(RawFrame) must not wait; frames come at
    `fps` or the source's own rate, whichever is lower. pts: seconds of `clock` since `start`, so a
    pause is a gap. notify(sentence) announces when the source dies, is back, or ends. A mistake
    that can be seen at once (no such file, no such camera) raises StreamAssistError here.
    """

    def __init__(
        self,
        spec: str,
        offer: Callable[[RawFrame], None],
        notify: Callable[[str], None],
        clock: Clock | None = None,
        fps: float = 8.0,
        loop: bool = True,
    ):
        self.source = parse_source(spec)
        self.offer, self.notify, self.clock = offer, notify, clock or RealClock()
        self.fps, self.loop = fps, loop
        self._file = self._check()
        self._stop, self._paused = threading.Event(), threading.Event()
        self._died_at: float | None = None
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    def _check(self) -> VideoFile | None:
        if self.source.kind in ("browser", "none"):
            raise ValueError("frames of a page need no thread")
        video = open_source(self.source)
        self.native_fps = video.fps if video else 0.0
        return video

    # ------------------------------------------------------------ control, from any thread

    def start(self) -> None:
        self.began = self.clock.monotonic()
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """No frame is offered from now on. A connection being opened may end a little later."""
        self._stop.set()
        if self._thread.ident and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def pause(self, paused: bool) -> None:
        """A paused camera or RTSP stream is closed, a paused file stands still."""
        (self._paused.set if paused else self._paused.clear)()

    @property
    def running(self) -> bool:
        return self._thread.is_alive() and not self._stop.is_set()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._held():
                    self._read_once()
                    if self._file and not self.loop and not self._stop.is_set():
                        self.notify("The video has ended.")
                        return
            except Exception as error:   # whatever it was, the stream must be tried again
                self._lost(error)

    def _held(self) -> bool:
        """Wait out a pause; False when it is time to stop."""
        while self._paused.is_set() and not self._stop.wait(POLL_S):
            pass
        return not self._stop.is_set()

    def _read_once(self) -> None:
        """Read until the source ends, or is paused (live) or stopped."""
        for image in self._paced(self._file) if self._file else self._live():
            if self._stop.is_set():
                return
            self._alive()
            self.offer(RawFrame(self.clock.monotonic() - self.began, image))

    def _paced(self, video: VideoFile) -> Iterator[np.ndarray]:
        """The file in real time."""
        began = self.clock.monotonic()
        for image, t in video.frames(min(self.fps, video.fps), self.loop):
            began += self._wait_until(began + t)
            yield image

    def _wait_until(self, due: float) -> float:
        """Wait for that moment of the clock; returns how much later than due it became."""
        while (left := due - self.clock.monotonic()) > 0 and not self._stop.is_set():
            self._stop.wait(min(left, POLL_S))
        if self._paused.is_set():
            self._held()
            return self.clock.monotonic() - due
        return -left if -left > LATE_S else 0.0

    def _live(self) -> Iterator[np.ndarray]:
        """Every due frame of a camera or RTSP stream; raises when the stream ends."""
        with open_live(self.source) as container:
            stream = video_stream(container)
            if stream is None:
                raise StreamAssistError("it sends no picture")
            stream.thread_type = "SLICE"   # frame threading would hold back one frame per thread
            self.native_fps = float(stream.average_rate or stream.guessed_rate or 0)
            stretch, sampler = pixel_shape(stream), FrameSampler(self.fps)
            for frame in decoded(container, stream, lambda: log.debug("damaged packet")):
                if self._stop.is_set() or self._paused.is_set():
                    return
                if sampler.due(self.clock.monotonic()):
                    yield upright(frame, stretch)
        raise StreamAssistError("it ended")

    # ------------------------------------------------------------ death and return

    def _lost(self, error: Exception) -> None:
        """Announce the first failure, then wait before the next attempt."""
        if self._stop.is_set():   # nobody watches it any more
            return
        if self._died_at is None:
            self._died_at = self.clock.monotonic()
            self.notify(f"No picture from {self.source}: {reason(error)}. Trying again.")
        wait = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        log.info("%s: %s; next attempt in %d s", self.source, reason(error), wait)
        self._stop.wait(wait)

    def _alive(self) -> None:
        """Announce the return after a failure."""
        if self._died_at is not None:
            gone = self.clock.monotonic() - self._died_at
            self.notify(f"The picture from {self.source} is back after {gone:.0f} s.")
        self._died_at, self._failures = None, 0


def check_camera(number: str) -> None:
    """Raise StreamAssistError when this computer cannot have such a camera."""
    if not sys.platform.startswith("linux"):
        raise StreamAssistError(
            "Cameras are opened directly on Linux only; use the camera button in the page instead."
        )
    if not Path(f"/dev/video{number}").exists():
        raise StreamAssistError(
            f"There is no camera {number} (/dev/video{number}) on this computer; "
            "plug one in, or use the camera button in the page."
        )


def open_live(source: Source) -> av.container.InputContainer:
    if source.kind == "rtsp":
        return av.open(source.where, options=RTSP_OPTIONS, timeout=TIMEOUT_S)
    device = f"/dev/video{source.where}"
    try:
        return av.open(device, format="v4l2", options=CAMERA_OPTIONS, timeout=TIMEOUT_S)
    except ValueError:   # av's for a bad argument or bad data: not every camera has these modes
        return av.open(device, format="v4l2", timeout=TIMEOUT_S)


def reason(error: Exception) -> str:
    """Why a source failed, in a few words and without its address."""
    reasons = {
        ConnectionRefusedError: "the connection was refused (is it on, is the port right?)",
        av.error.HTTPUnauthorizedError: "the user name or password is wrong",
        av.error.HTTPForbiddenError: "access is forbidden",
        av.error.HTTPNotFoundError: "there is no stream at that path",
        TimeoutError: "it does not answer",
        av.error.ExitError: "it does not answer",
        FileNotFoundError: "it is not there",
        PermissionError: "it may not be opened (join the group `video`)",
        av.error.InvalidDataError: "it does not answer, or not with a video",
        StreamAssistError: redact(str(error)).rstrip("."),
    }
    for kind, words in reasons.items():
        if isinstance(error, kind):
            return words
    return redact(getattr(error, "strerror", None) or type(error).__name__)
