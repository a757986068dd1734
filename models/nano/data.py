"""Training data of nano: captioned pictures, their cached features, questions made by rule.

Read only by training and evaluation, from `../shared/data/train` (see its README for licences).
Features are computed once: every picture squashed to 288 x 288 (view 0), and for training pictures
a view as a moving, worse camera has it as well (view 1), which also plays "an earlier frame".
"""
import io
import json
import os
import random
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor

from models.nano.backbone import FEATURE_DIM, INPUT_SIZE, normalize, pooled_tokens
from models.nano.network import NUM_TOKENS, TOKEN_SIDE, load_backbone
from streamassist.paths import cache_dir

DATA = Path(
    os.environ.get("STREAMASSIST_TRAIN_DATA")
    or Path(__file__).resolve().parents[3] / "shared" / "data" / "train"
)


@dataclass(frozen=True)
class Picture:
    """One photograph: `kind` is "human", "label" or "vqa"; `qa` holds (question, answer) pairs."""

    file: str
    tar: str
    split: str
    kind: str
    captions: tuple[str, ...]
    qa: tuple[tuple[str, str], ...] = ()


def load_pictures(folder: Path = DATA) -> list[Picture]:
    """All pictures of the three splits, in a fixed order."""
    pictures = []
    for line in (folder / "captions.jsonl").read_text().splitlines():
        row = json.loads(line)
        captions = tuple(clean_caption(c) for c in row["captions"])
        pictures.append(
            Picture(row["file"], row["tar"], row["split"], row["caption_kind"], captions)
        )
    questions: dict[str, dict] = {}
    for line in (folder / "vqa.jsonl").read_text().splitlines():
        row = json.loads(line)
        entry = questions.setdefault(row["file"], {**row, "qa": []})
        entry["qa"].append((clean_question(row["question"]), row["answer"]))
    for file, row in questions.items():
        pictures.append(Picture(file, row["tar"], row["split"], "vqa", (), tuple(row["qa"])))
    return pictures


def clean_caption(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip().rstrip(" .")
    text = re.sub(r" ([,.!?;:']|n't)", r"\1", text)
    return text[:1].upper() + text[1:] + "."


def clean_question(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip().rstrip(" ?")
    return text[:1].upper() + text[1:] + "?"


def read_images(pictures: list[Picture], folder: Path = DATA) -> Iterator[tuple[int, Image.Image]]:
    """(index, RGB image) of every picture, tar by tar."""
    wanted = {(p.tar, p.file): i for i, p in enumerate(pictures)}
    for tar in sorted({p.tar for p in pictures}):
        with tarfile.open(folder / tar) as archive:
            for member in archive:
                index = wanted.get((tar, member.name))
                if index is not None:
                    raw = archive.extractfile(member).read()
                    yield index, Image.open(io.BytesIO(raw)).convert("RGB")


def moved_view(image: Image.Image, rng: random.Random) -> Image.Image:
    """The same scene as a moving camera would see it: cropped, mirrored, exposed otherwise, and
    now and then blurred or with a black border."""
    w, h = image.size
    cw, ch = int(w * rng.uniform(0.7, 0.97)), int(h * rng.uniform(0.7, 0.97))
    x, y = rng.randint(0, w - cw), rng.randint(0, h - ch)
    image = image.crop((x, y, x + cw, y + ch))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    gain, gamma = rng.uniform(0.75, 1.25), rng.uniform(0.7, 1.4)
    curve = [min(255, int(255 * (v / 255) ** gamma * gain)) for v in range(256)]
    image = image.point(curve * 3)
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2.0)))
    if rng.random() < 0.1:
        sides = rng.random() < 0.5
        border = (cw // 6, 0) if sides else (0, ch // 6)
        image = ImageOps.expand(image, border)
    return image


def features_folder() -> Path:
    """Named after what the features depend on, so that old ones are never taken for new ones."""
    return cache_dir() / "nano" / f"features-{INPUT_SIZE}"


class FeatureStore:
    """Float16 features on disk, memory-mapped: `view(v)[i]` is (NUM_TOKENS, FEATURE_DIM)."""

    def __init__(self, folder: Path, num_pictures: int, num_views: int = 2):
        shape = (num_pictures, NUM_TOKENS, FEATURE_DIM)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.views = [self._open(folder / f"view{v}.npy", shape) for v in range(num_views)]

    @staticmethod
    def _open(path: Path, shape: tuple[int, ...]) -> np.ndarray:
        if path.exists():
            array = np.load(path, mmap_mode="r+")
            if array.shape == shape:
                return array
        return np.lib.format.open_memmap(path, "w+", np.float16, shape)

    @property
    def complete(self) -> bool:
        return (self.folder / "complete").exists()

    def fill(self, pictures: list[Picture], report=lambda done, total: None) -> None:
        """Compute every feature; about 5 minutes for 13,800 pictures on 2 CPU cores."""
        backbone, jobs, total = load_backbone(), [], len(pictures)
        for done, (i, image) in enumerate(read_images(pictures), 1):
            jobs.append((0, i, image))
            if pictures[i].split == "train":
                jobs.append((1, i, moved_view(image, random.Random(pictures[i].file))))
            if len(jobs) >= 16 or done == total:
                self._run(backbone, jobs)
                jobs = []
                report(done, total)
        for view in self.views:
            view.flush()
        (self.folder / "complete").write_text(str(total))

    @torch.no_grad()
    def _run(self, backbone, jobs: list[tuple[int, int, Image.Image]]) -> None:
        pixels = torch.stack([squash(image) for _, _, image in jobs])
        maps = backbone(pixels.to(memory_format=torch.channels_last))
        tokens = pooled_tokens(maps.float(), TOKEN_SIDE).half().numpy()
        for (view, i, _), feature in zip(jobs, tokens, strict=True):
            self.views[view][i] = feature


def squash(image: Image.Image) -> Tensor:
    """(3, 288, 288) in the backbone's range and type; the aspect is not kept, as in Flickr8k."""
    image = image.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    return normalize(pixels)
