"""Video files: opened with care, read frame by frame or at a fixed rate, turned upright, scaled."""
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from streamassist.errors import StreamAssistError

MAX_SIDE = 640        # pixels
GRID_SLACK_S = 1e-6
INDEXED = ("mov", "matroska")   # containers in which a key frame is found for sure
# Containers that are one file: playlists (hls, concat, dash) would open other files or addresses.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,mpegtsraw,vob,h264,hevc,m4v,"
    "av1,obu,ivf,flv,asf,wmv,ogg,mjpeg,gif,apng,webp_pipe,png_pipe,jpeg_pipe,image2,yuv4mpegpipe,"
    "dv,nut,mxf,swf,rm,wav,mp3,aac,flac,aiff,ac3,opus"
)
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": FORMATS}

log = logging.getLogger(__name__)


def open_video(path: str | Path) -> "VideoFile":
    """A video file, checked by decoding its first frame; raises StreamAssistError."""
    if scheme := re.match(r"([a-z][a-z0-9+.-]+)://", str(path), re.IGNORECASE):
        raise StreamAssistError(
            f"A source that begins with {scheme[0]} is not supported; "
            "use a file, rtsp://..., camera:0 or sample."
        )
    path = _without_tilde(Path(path))
    _check_readable(path)
    return VideoFile(path)


def _without_tilde(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise StreamAssistError(
            f"There is no user {path.parts[0]}; write the path in full."
        ) from None


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            raise StreamAssistError(f"{path} is a folder; give the path of a video file.")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise StreamAssistError(f"{path} is empty (0 bytes); copy or record it again.")
    except FileNotFoundError:
        raise StreamAssistError(f"There is no file {path}; check the path.") from None
    except ValueError:   # a zero byte
        raise StreamAssistError(f"{str(path)!r} cannot be a file; check the path.") from None
    except PermissionError:
        raise StreamAssistError(f"{path} may not be read; give yourself the right to.") from None
    except OSError as error:
        raise StreamAssistError(
            f"{path} cannot be read ({error.strerror}); check the path and the disk."
        ) from None


class VideoFile:
    """`duration_s` is None when the file does not say; `fps` is its own average rate.

    `damaged` counts the packets that could not be decoded and were skipped.
    """

    def __init__(self, path: Path):
        self.path = path
        self.damaged = 0
        with self._open() as (container, stream):
            self.duration_s = container.duration / av.time_base if container.duration else None
            self.fps = float(stream.average_rate or stream.guessed_rate or 25)
            self._stretch = pixel_shape(stream)
            first = next(self._decode(container, stream), None)
            if first is None:
                raise self._corrupt()
            self._first_s = first.time or 0.0   # need not be 0
        self.damaged = 0

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        """Every frame, RGB (H, W, 3) uint8 of at most 640 pixels a side, with its seconds."""
        for t, frame in self._timed(loop=False):
            if frame is not None:
                yield upright(frame, self._stretch), t

    def frames(self, fps: float, loop: bool = False) -> Iterator[tuple[np.ndarray, float]]:
        """The frame shown at each multiple of 1/fps seconds; time goes on when the clip loops.

        Frames between two multiples are decoded (others may depend on them), not converted.
        """
        return self._on_grid(self._timed(loop), fps, 0, None)

    def key_times(self) -> list[float]:
        """Seconds of the frames that can be decoded without others, the first one's 0; empty where
        the file has no index to find them by, or not a time for every packet."""
        keys: list[float] = []
        with self._open() as (container, stream):
            if not container.format.name.startswith(INDEXED):
                return keys
            try:
                for packet in container.demux(stream):
                    if not packet.size:
                        continue
                    if packet.pts is None:
                        return []
                    if packet.is_keyframe:
                        keys.append(float(packet.pts * packet.time_base) - self._first_s)
            except (av.error.FFmpegError, OSError):
                return []
        return sorted(keys)

    def frames_between(
        self, fps: float, start: float, end: float | None
    ) -> Iterator[tuple[np.ndarray, float]]:
        """What `frames` gives of the time from a key frame up to, not including, `end`."""
        first = math.ceil((start - GRID_SLACK_S) * fps)
        return self._on_grid(self._timed(False, start), fps, first, end)

    def _on_grid(
        self, timed: Iterator[tuple[float, av.VideoFrame | None]], fps: float, tick: int,
        end: float | None,
    ) -> Iterator[tuple[np.ndarray, float]]:
        """What is shown at tick / fps and each later multiple, up to, not including, `end`."""
        shown, image = None, None
        for t, frame in timed:
            while shown is not None and tick / fps < t - GRID_SLACK_S:
                if end is not None and tick / fps >= end - GRID_SLACK_S:
                    return
                image = upright(shown, self._stretch) if image is None else image
                yield image, tick / fps
                tick += 1
            shown, image = frame, None

    @contextmanager
    def _open(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        try:
            container = av.open(str(self.path.resolve()), options=OPTIONS)
        except (av.error.FFmpegError, OSError, ValueError):
            raise self._corrupt() from None
        with container:
            stream = video_stream(container)
            if stream is None:
                raise StreamAssistError(
                    f"{self.path} has no moving picture (sound only); choose a file with video."
                )
            stream.thread_type = "AUTO"
            yield container, stream

    def _corrupt(self) -> StreamAssistError:
        return StreamAssistError(
            f"{self.path} is damaged or not a video; play it elsewhere to check, "
            "or convert it to MP4 (H.264)."
        )

    def _decode(self, container, stream) -> Iterator[av.VideoFrame]:
        try:
            yield from decoded(container, stream, self._note_damage)
        except (av.error.FFmpegError, OSError):   # a file that ends in rubbish ends there
            self._note_damage()

    def _note_damage(self) -> None:
        self.damaged += 1
        if self.damaged == 1:
            log.warning("%s is damaged in places; those are skipped", self.path)

    def _timed(
        self, loop: bool, since: float = 0.0
    ) -> Iterator[tuple[float, av.VideoFrame | None]]:
        """(seconds, frame), time never running back; (end, None) behind the last one. since: the
        time of a key frame to begin with."""
        start = 0.0
        while True:
            with self._open() as (container, stream):
                t, first = start, None
                if since:
                    first = self._first_s
                    offset = round((first + since) / stream.time_base)
                    container.seek(offset, stream=stream, backward=True)
                for index, frame in enumerate(self._decode(container, stream)):
                    own = index / self.fps if frame.time is None else frame.time
                    first = own if first is None else first
                    if since and own - first < since - GRID_SLACK_S:
                        continue
                    t = max(t, start + own - first)
                    yield t, frame
            if first is None:
                raise self._corrupt()
            start = t + 1 / self.fps
            if not loop:
                yield start, None
                return


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first moving picture; the cover of a song is none."""
    moving = [
        s for s in container.streams.video if not s.disposition & Disposition.attached_pic
    ]
    return moving[0] if moving else None


def decoded(container, stream, on_damage) -> Iterator[av.VideoFrame]:
    """The frames of a stream; `on_damage` is called for each packet that had to be skipped."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            on_damage()
            continue
        yield from frames


def pixel_shape(stream: av.VideoStream) -> float:
    """Width of a pixel over its height: not 1 in old broadcast and DVD material."""
    return float(stream.sample_aspect_ratio or 1)


def upright(frame: av.VideoFrame, stretch: float = 1.0, max_side: int = MAX_SIDE) -> np.ndarray:
    """RGB (H, W, 3) uint8, pixels square, at most `max_side` a side, turned as its maker meant."""
    width, height = frame.width * stretch, frame.height
    scale = min(1.0, max_side / max(width, height))
    size = (max(1, math.floor(side * scale + 0.5)) for side in (width, height))
    image = frame.reformat(*size, "rgb24").to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
