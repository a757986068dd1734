"""A sheet of examples for the model card: pictures that may be shown, what nano says of them, and
whether its answers are accepted. Nothing is chosen by how well it went: of every clip under a free
licence the first question about the present, and a description at the same time. Part of
`benchmarks.nano` (`--examples FILE`)."""
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.accept import is_right
from benchmarks.common import Clip, load_clips
from benchmarks.nano_questions import present_questions
from models.nano.describe import prefill, reply
from streamassist.types import VideoLLM

FREE = ("CC BY", "Apache")   # how such a licence begins
COLUMNS, WIDTH, HEIGHT, TEXT, LINE = 3, 320, 200, 92, 17
GOOD, BAD, INK = "#0a6b2d", "#b00020", "#1a1a1a"

Line = tuple[str, str]   # words, colour


def draw_examples(model: VideoLLM, folder: Path, file: Path) -> int:
    """Write the sheet; returns how many examples it has."""
    clips = [c for c in load_clips(folder)
             if c.facts["rights"] == "clear" and c.facts["licence"].startswith(FREE)]
    cells = [cell for clip in clips if (cell := _example(model, clip))]
    draw_sheet(cells, file)
    return len(cells)


def _example(model: VideoLLM, clip: Clip) -> tuple[np.ndarray, list[Line]] | None:
    asked = present_questions(clip)
    if not asked:
        return None
    item, frames = asked[0]
    cache = prefill(model, frames)
    seen, said = reply(model, cache, model.describe_prompt), reply(model, cache, item["question"])
    right = is_right(said, item["accept"])
    return frames[-1], [
        (seen, INK), (item["question"], INK),
        (f"{said} (accepted)" if right else f"{said} (wanted: {item['answer']})",
         GOOD if right else BAD),
    ]


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
