"""What nano is compared with: training captions chosen without a language model."""
from collections import Counter
from collections.abc import Sequence

import numpy as np

from models.nano.data import Picture, features_folder
from streamassist.errors import StreamAssistError


def most_common_caption(train: list[Picture]) -> str:
    """Counted without regard to case."""
    counts = Counter(c.lower() for p in train for c in p.captions)
    common = counts.most_common(1)[0][0]
    return next(c for p in train for c in p.captions if c.lower() == common)


def mean_features(all_pictures: list[Picture], wanted: list[Picture]) -> np.ndarray:
    """(N, 1280) features of `wanted`, averaged over the picture, from training's store."""
    folder = features_folder()
    if not (folder / "complete").is_file():
        raise StreamAssistError(
            "The picture features are not there yet; run `python -m models.nano.train` first."
        )
    store = np.load(folder / "view0.npy", mmap_mode="r")
    place = {p.file: i for i, p in enumerate(all_pictures)}
    return np.stack([store[place[p.file]].astype(np.float32).mean(0) for p in wanted])


def nearest(
    test: np.ndarray, train: np.ndarray, excluded: np.ndarray | bool = False
) -> np.ndarray:
    """(N,) index of the training row most similar by cosine, but for those `excluded` (N, M)."""
    test, train = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (test, train))
    return np.where(excluded, -np.inf, test @ train.T).argmax(1)


def shuffled(captions: Sequence[str], seed: int = 0) -> list[str]:
    """Every caption goes to another picture, by one random cycle through all."""
    cycle = np.random.default_rng(seed).permutation(len(captions))
    moved = [""] * len(captions)
    for source, target in zip(cycle, np.roll(cycle, 1), strict=True):
        moved[target] = captions[source]
    return moved
