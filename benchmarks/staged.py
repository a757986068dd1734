"""Is nano quiet when nothing happens, and does it speak when something does? Part of
`benchmarks.nano`: a still picture as a camera sees it, and pictures that change at known times."""
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from app import compose
from benchmarks.common import watched
from models.nano.data import Picture, read_images
from streamassist.clock import RealClock
from streamassist.config import Config
from streamassist.replay import Plan, replay
from streamassist.types import Remark, VideoLLM

STAYS_S = 20.0        # each of the changing pictures
NOTICED_S = 8.0       # a remark so soon after a change is about it
NOISE, SHAKE = 3.0, 1   # standard deviation of a byte; pixels


class Staged:
    """Pictures shown one after the other by an unsteady, noisy camera; read like a video file."""

    def __init__(self, images: Sequence[np.ndarray], stays_s: float):
        self.images, self.stays_s = images, stays_s

    def frames(self, fps: float) -> Iterator[tuple[np.ndarray, float]]:
        rng = np.random.default_rng(0)
        for tick in range(int(len(self.images) * self.stays_s * fps)):
            image = self.images[int(tick / fps / self.stays_s)]
            moved = np.roll(image, rng.integers(-SHAKE, SHAKE + 1, 2), (0, 1))
            noisy = moved + rng.normal(0, NOISE, image.shape)
            yield noisy.clip(0, 255).astype(np.uint8), tick / fps


def silence(
    model: VideoLLM, pictures: Sequence[Picture], still_s: float, response: str
) -> dict[str, Any]:
    """Remarks in ten minutes of a still picture, the first look not counted; and of staged changes
    how many are noticed, how many remarks are about one, and after how long (median)."""
    images = [np.asarray(image) for _, image in read_images(list(pictures))]
    still = remarks(model, Staged(images[:1], still_s), response)
    later = [t for t in still if t > NOTICED_S]
    times = remarks(model, Staged(images, STAYS_S), response)
    changes = [STAYS_S * i for i in range(1, len(images))]
    delays = [min((t - c for t in times if 0 <= t - c <= NOTICED_S), default=None)
              for c in changes]
    noticed = [d for d in delays if d is not None]
    about = [t for t in times if t <= NOTICED_S or t % STAYS_S <= NOTICED_S]
    return {
        "response": response,
        "still_remarks_per_10_min": 600 * len(later) / still_s,
        "changes": len(changes),
        "recall": len(noticed) / len(changes),
        "precision": len(about) / max(1, len(times)),
        "delay_s": float(np.median(noticed)) if noticed else None,
    }


def remarks(model: VideoLLM, video: Staged, response: str) -> list[float]:
    """Stream times at which it speaks up."""
    app = compose(model, "", Config(memory="last_n", response=response), RealClock())
    events = watched(replay(video, app.make_session, app.config, Plan()))
    return [event.t for event in events if isinstance(event, Remark)]
