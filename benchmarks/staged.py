"""Is nano quiet when nothing happens, and does it speak when something does? Part of
`benchmarks.nano`: a still picture as a camera sees it, and pictures that change at known times."""
import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from app import compose
from benchmarks.common import watched
from models.nano import prompts
from models.nano.adapter import Nano
from models.nano.data import Picture, read_images
from models.nano.describe import prefill
from streamassist.clock import RealClock
from streamassist.config import Config
from streamassist.replay import Plan, replay
from streamassist.types import Frame, Remark, VideoLLM

STAYS_S = 20.0        # each of the changing pictures
NOTICED_S = 8.0       # a remark so soon after a change is about it
NOISE, SHAKE = 3.0, 1   # standard deviation of a byte; pixels
SCENES = 3            # of a stream that tells news: at most nine frames, about what nano reads

log = logging.getLogger(__name__)


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


def news(model: Nano, pictures: Sequence[Picture], streams: int) -> dict[str, Any]:
    """Streams of scenes that each stay for one to three noisy frames: how well two signals tell the
    first frame of a scene from the others, as areas under the curve (0.5 by chance). The flag, and
    how unlikely the end is as the next word (the token of silence)."""
    rng, told = random.Random(0), []
    (end,) = model.encode_text(prompts.END)
    for number in range(streams):
        chosen = [pictures[i] for i in rng.sample(range(len(pictures)), SCENES)]
        images = [np.asarray(image) for _, image in read_images(chosen)]
        cache = prefill(model, [])
        for scene, (image, count) in enumerate(zip(images, _stays(rng), strict=True)):
            shown = Staged([image], count).frames(1.0)
            for k, (noisy, _) in enumerate(shown):
                (tokens,) = model.encode([Frame(noisy, float(len(told)), len(told))])
                row = model.forward(model.frame_chunk(tokens, cache.next_position), cache)
                silent = float(row.float().softmax(-1)[end])
                if scene:   # a stream's first frame is news without a look
                    told.append((k == 0, 1 - model.p_silence, 1 - silent))
        log.info("stream %d of %d", number + 1, streams)
    new, flag, word = (np.array(column, float) for column in zip(*told, strict=True))
    area = {"flag": area_under_curve(new, flag), "silence": area_under_curve(new, word)}
    return {"frames": len(told), "news": int(new.sum()), "area": area}


def _stays(rng: random.Random) -> list[int]:
    return [rng.randint(1, 3) for _ in range(SCENES)]


def area_under_curve(truth: np.ndarray, score: np.ndarray) -> float:
    """How likely a true one scores above a false one; ties count half."""
    apart = score[truth > 0][:, None] - score[truth == 0][None]
    return float(((apart > 0) + (apart == 0) / 2).mean())


def remarks(model: VideoLLM, video: Staged, response: str) -> list[float]:
    """Stream times at which it speaks up."""
    app = compose(model, "", Config(memory="last_n", response=response), RealClock())
    events = watched(replay(video, app.make_session, app.config, Plan()))
    return [event.t for event in events if isinstance(event, Remark)]
