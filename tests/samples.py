"""Small media files made on the spot: sound, damaged, empty, turned, without a picture."""
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def frame_of(index: int, width: int = 160, height: int = 96) -> np.ndarray:
    """A grey picture whose brightness tells its index (8 a step), red in the left upper quarter."""
    image = np.full((height, width, 3), 8 * (index % 30) + 8, np.uint8)
    image[: height // 2, : width // 2] = (220, 20, 20)
    return image


def index_of(image: np.ndarray) -> int:
    """Which `frame_of` a decoded picture shows, read in its right lower quarter."""
    height, width = image.shape[:2]
    corner = image[height * 5 // 8 :, width * 5 // 8 :]
    return round((float(corner.mean()) - 8) / 8)


def make_video(
    path: Path, num_frames: int = 20, fps: int = 10, size: tuple[int, int] = (160, 96),
    rotation: int = 0, codec: str = "mpeg4",
) -> Path:
    """A clip of `frame_of(0), frame_of(1), ...`; `rotation`: degrees anticlockwise, in metadata."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(num_frames):
            picture = av.VideoFrame.from_ndarray(frame_of(index, *size), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def make_sound(path: Path, seconds: float = 0.5) -> Path:
    """A file with sound only."""
    rate = 16000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        tone = np.sin(np.arange(int(rate * seconds)) * 0.1)
        frame = av.AudioFrame.from_ndarray((8000 * tone).astype(np.int16)[None], layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_rubbish(path: Path) -> Path:
    """Bytes that are no video, whatever the name says."""
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    return path


def make_empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def make_cut(path: Path) -> Path:
    """A clip whose second half is lost, as after a full disk."""
    make_video(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def make_damaged(path: Path) -> Path:
    """A clip with rubbish written over a stretch in its middle."""
    make_video(path, num_frames=40)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = np.random.default_rng(1).bytes(300)
    path.write_bytes(bytes(data))
    return path
