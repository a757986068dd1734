"""The hash that tells pictures of one series."""
import numpy as np
import pytest
from PIL import Image

from models.nano.series import SAME_SERIES, agreement, difference_hash, hashes, same_series


def scene(seed: int) -> Image.Image:
    """A picture of smooth blobs, 320 x 240."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC)


def agree(a: Image.Image, b: Image.Image) -> float:
    return agreement(difference_hash(a)[None], difference_hash(b)[None])[0, 0]


def test_hash_bits_are_the_signs_of_the_slopes():
    ramp = Image.fromarray(np.tile(np.arange(170, dtype=np.uint8), (170, 1)))
    right, below = difference_hash(ramp)
    assert right.all() and not below.any()
    right, below = difference_hash(ramp.transpose(Image.Transpose.ROTATE_90))
    assert not right.any() and not below.any()   # brighter towards the top


def test_a_picture_agrees_fully_with_itself_and_is_the_opposite_of_nothing_by_chance():
    assert agree(scene(0), scene(0)) == 1.0


@pytest.mark.parametrize(
    "change",
    [
        lambda im: im.point(lambda v: int(v * 0.8)),
        lambda im: im.resize((224, 224)),
        lambda im: im.crop((20, 15, 320, 240)),
        lambda im: im.transform(im.size, Image.Transform.AFFINE, (1, 0, 36, 0, 1, -26)),
    ],
    ids=["darker", "squashed", "cropped", "moved by two cells"],
)
def test_shots_of_one_scene_are_a_series(change):
    assert agree(scene(3), change(scene(3))) > SAME_SERIES


def test_different_scenes_are_not_a_series():
    table = hashes(enumerate(scene(i) for i in range(40)), 40)
    assert np.array_equal(same_series(table, table), np.eye(40, dtype=bool))


def test_agreement_is_symmetric():
    table = hashes(enumerate(scene(i) for i in range(6)), 6)
    assert np.array_equal(agreement(table, table), agreement(table, table).T)
