"""The benchmark of reuse: what it compares, and what follows from the numbers."""
from pathlib import Path

import numpy as np
import pytest

from benchmarks import reuse
from benchmarks.common import Clip, Sheet
from streamassist.types import Frame
from tests import tiny_nano


class Film(Clip):
    """Four made-up pictures, each shown for two frames, and then the last one on."""

    def open(self) -> "Film":
        return self

    def frames(self, fps: float) -> list[tuple[np.ndarray, float]]:
        images = [tiny_nano.picture(min(i // 2, 3)) for i in range(20)]
        return [(image, i / fps) for i, image in enumerate(images)]


FACTS = {"scene": "A dog in a park.", "duration_s": 10.0, "events": []}


def test_every_frame_goes_through_every_setting():
    model, film = tiny_nano.build()[0], Film(Path("/x/dog_park.mp4"), FACTS)
    rows = reuse.on_clips(model, [film], ["tiles"], Sheet(True))
    whole, tiles = rows
    assert (whole["work"], whole["cosine"], whole["processor"]) == pytest.approx((1, 1, 1))
    assert tiles["work"] == pytest.approx(4 / 20)
    assert tiles["by_clip"]["dog_park"] == pytest.approx(4 / 20)
    assert tiles["cosine"] == pytest.approx(1, abs=1e-4) and tiles["gain"] == 0
    assert tiles["asked"] == 8 and tiles["frames"] == 20 and tiles["ms"] > 0


def test_a_tenth_of_the_picture_moves():
    one, two = (frame.image for frame in reuse.moving_picture(2))
    assert isinstance(reuse.moving_picture(1)[0], Frame)
    assert 0.01 < (one != two).any(2).mean() < 0.15


def test_the_first_setting_must_stay_close_and_every_method_save_time():
    def row(**changed: float) -> dict:
        return {"setting": "tiles", "processor": 0.8, "cosine": 0.99, "gain": -0.01, "low": -0.02,
                "high": 0.01, "asked": 600, **changed}

    tower = [{"setting": "none", "processor": 1.0}, {"setting": "gated", "processor": 0.4}]
    assert reuse.judged([row(), row()], tower).ok
    assert not reuse.judged([row(), row(cosine=0.9)], tower).ok
    assert not reuse.judged([row(), row(gain=-0.03)], tower).ok
    assert not reuse.judged([row(), row()], [*tower, {"setting": "x", "processor": 1.1}]).ok
    done = reuse.judged([], tower)
    assert done.ok and "no clips" in done.figure
