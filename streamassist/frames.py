"""Frames on their way in: raw frames, the buffer between threads, the fixed-rate sampler."""
import io
import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from streamassist.errors import StreamAssistError
from streamassist.types import Frame

MAX_PIXELS = 4096 * 4096   # larger JPEGs are refused before they are decoded
MAX_ASPECT = 100           # of the longer side to the shorter: no model reads a thinner picture
RESTART_S = 1.0            # time that runs back by more than this is a new stream
GRID_SLACK = 1e-6          # in frames: a frame this little early still counts as on time


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A frame not looked at yet: `data` is RGB (H, W, 3) uint8 or the bytes of a JPEG."""

    pts: float
    data: np.ndarray | bytes
    index: int = 0

    def decode(self) -> Frame:
        """The picture itself; raises StreamAssistError for one that cannot be read."""
        image = decode_jpeg(self.data) if isinstance(self.data, bytes) else self.data
        height, width = image.shape[:2]
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise StreamAssistError(f"A frame of {width} x {height} pixels is too narrow.")
        return Frame(image, self.pts, self.index)


def decode_jpeg(data: bytes) -> np.ndarray:
    """JPEG bytes -> RGB (H, W, 3) uint8; raises StreamAssistError."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise StreamAssistError(
                    f"A frame of {picture.width} x {picture.height} pixels is too large; "
                    "send at most 4096 x 4096."
                )
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise StreamAssistError("A frame was not a readable JPEG and was skipped.") from None


def jpeg(image: np.ndarray, max_side: int = 640, quality: int = 75) -> bytes:
    """RGB (H, W, 3) uint8 -> JPEG with a long side of at most `max_side` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((max_side, max_side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


class FrameBuffer:
    """First in, first out, at most `maxlen` frames; a full buffer drops its oldest, and counts.

    Safe from any thread. `seen` counts the frames put in and numbers them (`RawFrame.index`);
    `dropped` those pushed out before anyone took them.
    """

    def __init__(self, maxlen: int):
        if maxlen < 1:
            raise ValueError("a frame buffer holds at least one frame")
        self._frames: deque[RawFrame] = deque(maxlen=maxlen)
        self._changed = threading.Condition()
        self.seen = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: RawFrame) -> None:
        """Never waits."""
        with self._changed:
            self.dropped += len(self._frames) == self._frames.maxlen
            self._frames.append(replace(frame, index=self.seen))
            self.seen += 1
            self._changed.notify()

    def take(self, timeout_s: float = 0.0) -> RawFrame | None:
        """The oldest frame, None when none came within `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._frames) > 0, timeout_s)
            return self._frames.popleft() if self._frames else None

    def newest(self) -> RawFrame | None:
        """A look at the newest frame, which stays."""
        with self._changed:
            return self._frames[-1] if self._frames else None

    def clear(self) -> None:
        """Empty the buffer; what is thrown away here is not counted as dropped."""
        with self._changed:
            self._frames.clear()


class FrameSampler:
    """Which frames are due at a fixed rate: the first one at or after each multiple of 1/fps.

    The grid begins at the first frame, or anew when time runs back. Depends on `pts` alone, so
    the same stream always gives the same choice.
    """

    def __init__(self, fps: float):
        if not fps > 0:
            raise ValueError("fps must be positive")
        self.fps = fps
        self._origin: float | None = None
        self._slot = -1

    def reset(self) -> None:
        self._origin, self._slot = None, -1

    def due(self, pts: float) -> bool:
        """True when the frame at `pts` should be used; call once per frame, in order."""
        if self._origin is None or pts < self._origin + self._slot / self.fps - RESTART_S:
            self._origin, self._slot = pts, -1
        slot = int((pts - self._origin) * self.fps + GRID_SLACK)
        if slot <= self._slot:
            return False
        self._slot = slot
        return True
