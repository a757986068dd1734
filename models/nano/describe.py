"""`python -m models.nano.describe FILE...`: one JSON line per picture, {"file": ..., "text": ...}.

Greedy unless `--beam N`. A file that is no picture gets a sentence on stderr and exit code 2, after
the others were described.
"""
import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from streamassist.cache import KVCache
from streamassist.errors import StreamAssistError
from streamassist.types import Frame, Role, VideoLLM

MAX_TOKENS = 40


@dataclass(frozen=True)
class Beam:
    """A caption under way: its token ids, the sum of their log-probabilities, whether it ended."""

    ids: tuple[int, ...] = ()
    total: float = 0.0
    ended: bool = False

    @property
    def score(self) -> float:
        """Mean log-probability, the end token counted."""
        return self.total / max(1, len(self.ids) + self.ended)


def describe(model: VideoLLM, image: np.ndarray, beam: int = 1, question: str = "") -> str:
    """The model's words about an RGB picture (H, W, 3) uint8; `beam` 1 is greedy."""
    return answer(model, [image], question or model.describe_prompt, beam)


def answer(model: VideoLLM, images: Sequence[np.ndarray], question: str, beam: int = 1) -> str:
    """The best answer to a question about the newest of some pictures, by beam search."""
    return reply(model, prefill(model, images), question, beam)


def reply(model: VideoLLM, cache: KVCache, question: str, beam: int = 1) -> str:
    """The best answer on what the cache holds, which is left as it was."""
    tail = Tail(model, cache)
    branch, beams = model.question_ids(question), [Beam()]
    while not all(b.ended for b in beams):
        grown = [b for b in beams if b.ended]
        for b in beams:
            if not b.ended:
                log_p = tail.logits([*branch, *b.ids]).log_softmax(-1)
                grown += extend(b, log_p, beam, model.stop_ids)
        beams = sorted(grown, key=lambda b: b.score, reverse=True)[:beam]
    cache.truncate(tail.start)
    return model.detokenize(beams[0].ids).strip()


class Tail:
    """Text behind the pictures; what two requests have in common is computed once."""

    def __init__(self, model: VideoLLM, cache: KVCache):
        self.model, self.cache = model, cache
        self.start, self.held = cache.size, []

    def logits(self, ids: list[int]) -> torch.Tensor:
        """Logits (V,) behind the pictures and `ids`, of which at least the last is computed."""
        shared = len(commonprefix([ids[:-1], self.held]))
        self.cache.truncate(self.start + shared)
        self.held = ids
        return append(self.model, self.cache, ids[shared:])


def prefill(model: VideoLLM, images: Sequence[np.ndarray]) -> KVCache:
    """A fresh cache holding the prompt and the pictures, one second apart."""
    cache = model.new_cache()
    append(model, cache, model.prompt_ids(), Role.PROMPT)
    cache.pin()
    for i, image in enumerate(images):
        (tokens,) = model.encode([Frame(image, float(i), i)])
        model.forward(model.frame_chunk(tokens, cache.next_position), cache)
    return cache


def append(
    model: VideoLLM, cache: KVCache, ids: Sequence[int], role: Role = Role.BRANCH
) -> torch.Tensor:
    return model.forward(model.text_chunk(ids, cache.next_position, role, 0.0), cache)


def extend(b: Beam, log_p: torch.Tensor, width: int, stop_ids: frozenset[int]) -> list[Beam]:
    """The `width` likeliest continuations of one caption by one token."""
    values, ids = log_p.topk(width)
    grown = []
    for value, token in zip(values.tolist(), ids.tolist(), strict=True):
        ended = token in stop_ids
        longer = b.ids if ended else (*b.ids, token)
        grown.append(Beam(longer, b.total + value, ended or len(longer) >= MAX_TOKENS))
    return grown


def read_picture(file: str) -> np.ndarray:
    """RGB (H, W, 3) uint8, turned upright; StreamAssistError for anything that is no picture."""
    if not Path(file).is_file():
        raise StreamAssistError(f"{file} is not a file that exists; give the path of a picture.")
    try:
        with Image.open(file) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise StreamAssistError(
            f"{file} is not a readable picture; give a JPEG, PNG or WebP file."
        ) from None


def describe_files(model: VideoLLM, files: Sequence[str], beam: int = 1) -> int:
    """Print a line per picture; the exit code is 2 when any file could not be read, else 0."""
    code = 0
    for file in files:
        try:
            text = describe(model, read_picture(file), beam)
        except StreamAssistError as error:
            print(error, file=sys.stderr, flush=True)
            code = 2
        else:
            print(json.dumps({"file": file, "text": text}, ensure_ascii=False), flush=True)
    return code


def positive(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 16:
        raise argparse.ArgumentTypeError("must be between 1 and 16")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.nano.describe", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--beam", type=positive, default=1, help="captions followed at a time")
    options = parser.parse_args(arguments)
    from models.nano.adapter import Nano

    try:
        model = Nano.load()
    except StreamAssistError as error:
        print(error, file=sys.stderr)
        return 2
    return describe_files(model, options.files, options.beam)


if __name__ == "__main__":
    sys.exit(main())
