"""Read text: what is written in the newest picture, or in one of a time that the question names.

The models (PP-OCRv6, Apache-2.0) come inside the package rapidocr and run in onnxruntime on one
core, in a thread of their own; nothing is fetched.
"""
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from streamassist.errors import StreamAssistError
from streamassist.frames import decode_jpeg
from streamassist.memory.question import when
from streamassist.tools.base import Found, Seen, ToolDesk, quoted
from streamassist.types import Frame

PACKAGES = "rapidocr==3.10.0 onnxruntime==1.31.1"
DETECTOR, RECOGNIZER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
SURE = 0.5             # least confidence of a line
SHORT, LONG = 736, 1280   # pixels: sides that a picture is brought to, as far as both can be had
BREAK = " / "          # between lines

_WANTS = re.compile(
    r"\bread (?:it|that|this|the|what|out|me|aloud|all|my|every|any)\b|"
    r"\bwhat (?:does|do|did)\b.{0,60}\bsay\b|\bwhat(?:'s| is| was| stands) written\b|"
    r"\b(?:which|what) (?:number|word|letters?|name|text)\b.{0,40}\b(?:on|in|at|written)\b|"
    r"\bwhat(?:'s| is| was) the (?:text|number|writing|inscription|licen[cs]e plate|label)\b|"
    r"\btext (?:on|in)\b|\bspell\b"
)


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of text: its box in pixels, and how sure the reader is of it, 0..1."""

    text: str
    sure: float
    left: float
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


class ReadText:
    name = "read_text"
    slow = True

    def describe(self) -> str:
        return "Reads the text in the picture."

    def wants(self, question: str) -> bool:
        return bool(_WANTS.search(question.lower()))

    def run(self, question: str, desk: ToolDesk) -> Found:
        frame = picture_for(question, desk)
        rows = in_reading_order([line for line in self.read(frame) if line.sure >= SURE])
        seen: Seen = (frame.index, frame.pts)
        if not rows:
            return Found("read the text in the picture", "I can read no text.", [seen])
        return Found("read the text in the picture", quoted(BREAK.join(rows)), [seen])

    def read(self, frame: Frame) -> list[Line]:
        """All pieces of text, in no order; raises StreamAssistError without the package."""
        found = self._reader(fitted(frame.image)[:, :, ::-1])   # it wants BGR
        if found.boxes is None:
            return []
        pieces = zip(found.boxes.tolist(), found.txts, found.scores, strict=True)
        return [
            Line(text, float(sure), min(x for x, _ in box), min(y for _, y in box),
                 max(y for _, y in box))
            for box, text, sure in pieces
        ]

    @cached_property
    def _reader(self) -> Any:
        try:
            import onnxruntime
            import rapidocr
        except ImportError:
            raise StreamAssistError(
                f"Reading text needs two packages: pip install {PACKAGES}. I answer without."
            ) from None
        onnxruntime.disable_telemetry_events()   # some builds of it send them
        models = Path(rapidocr.__file__).parent / "models"
        engine = "EngineConfig.onnxruntime"
        return rapidocr.RapidOCR(params={
            "Global.log_level": "critical", "Global.use_cls": False, "Global.text_score": 0.0,
            "Det.model_path": str(models / DETECTOR), "Rec.model_path": str(models / RECOGNIZER),
            "Det.limit_type": "max", "Det.limit_side_len": LONG,
            f"{engine}.intra_op_num_threads": 1, f"{engine}.inter_op_num_threads": 1,
        })


# ---------------------------------------------------------------- pictures

def picture_for(question: str, desk: ToolDesk) -> Frame:
    """The newest picture; for a time that the question names the one nearest to it, which is small
    unless it is among the newest. Raises StreamAssistError when none is held."""
    at = when(question, desk.now).at
    if at is None:
        return desk.recent[-1]
    nearest = min(desk.recent, key=lambda frame: abs(frame.pts - at))
    held = min(desk.pictures(0.0), key=lambda seen: abs(seen[1] - at), default=None)
    if held is None or abs(nearest.pts - at) <= abs(held[1] - at):
        return nearest
    if (jpeg := desk.thumbnail(held[0])) is None:
        raise StreamAssistError("The picture of that time is gone; I answer without reading it.")
    return Frame(decode_jpeg(jpeg), held[1], held[0])


def fitted(image: np.ndarray) -> np.ndarray:
    """The picture with its short side at SHORT, unless its long side would be above LONG."""
    height, width = image.shape[:2]
    scale = min(LONG / max(height, width), max(1.0, SHORT / min(height, width)))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def in_reading_order(lines: Sequence[Line]) -> list[str]:
    """Rows from top to bottom, pieces of a row from left to right. A piece is in the row whose
    first piece it overlaps in height by more than half."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top):
        row = next((row for row in rows if row[0].top <= line.middle <= row[0].bottom), None)
        if row is None:
            rows.append([line])
        else:
            row.append(line)
    return [" ".join(piece.text for piece in sorted(row, key=lambda p: p.left)) for row in rows]
