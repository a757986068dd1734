"""No test picture and no clip was trained on: files, bytes and looks are compared."""
import hashlib
import tarfile
from collections import defaultdict

import numpy as np
import pytest

from models.nano.data import DATA, load_pictures, read_images
from models.nano.series import agreement, difference_hash, hashes
from streamassist.video import open_video

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("shared_data")]

SAME = 0.97   # agreement of two copies of one picture, whatever their size and quality


def test_no_picture_is_in_two_splits():
    splits = defaultdict(set)
    for picture in load_pictures():
        splits[picture.split].add(picture.file)
    assert not splits["train"] & splits["test"] and not splits["train"] & splits["val"]
    assert not splits["val"] & splits["test"]


def test_no_picture_of_the_test_has_the_bytes_of_a_training_picture():
    split = {(p.tar, p.file): p.split for p in load_pictures()}
    seen = defaultdict(set)
    for tar in sorted({tar for tar, _ in split}):
        with tarfile.open(DATA / tar) as archive:
            for member in archive:
                if where := split.get((tar, member.name)):
                    digest = hashlib.sha1(archive.extractfile(member).read()).digest()
                    seen[where].add(digest)
    assert len(seen["train"]) > 10_000 and not seen["train"] & seen["test"]


def test_no_test_picture_and_no_clip_looks_like_a_training_picture(shared_data):
    """Near copies; other shots of one event exist in Flickr8k and are counted in the card."""
    pictures = [p for p in load_pictures() if p.kind == "human"]
    train = [p for p in pictures if p.split == "train"][::4]
    test = [p for p in pictures if p.split == "test"]
    known = hashes(read_images(train), len(train))
    mine = [*hashes(read_images(test), len(test))]
    for file in sorted((shared_data / "videos").glob("*.mp4"))[::4]:
        mine += [difference_hash(_picture(image)) for image, _ in open_video(file).frames(0.2)]
    assert agreement(np.stack(mine), known).max() < SAME


def _picture(image: np.ndarray):
    from PIL import Image

    return Image.fromarray(image)
