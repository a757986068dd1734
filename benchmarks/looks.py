"""What a model's encoder makes of streams that are watched again and again: computed once."""
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from streamassist.types import Frame, Role, VideoLLM, VisualTokens

BATCH = 8
Shot = tuple[str, int]   # a source (a clip or a picture) and which of its frames


class Looks:
    """What the encoder makes of every shot: computed once a source, kept in files for clips.

    read: a source's name -> its pictures. Where the model writes the time beside a frame, it is
    encoded anew each time it is shown.
    """

    def __init__(self, model: VideoLLM, read: Callable[[str], list[np.ndarray]], folder: Path):
        self.model, self.read, self.folder = model, read, folder / fingerprint(model)
        self._kept: dict[str, list[VisualTokens]] = {}
        self._pictures: dict[str, list[np.ndarray]] = {}

    def prepare(self, sources: Iterable[str], keep: Callable[[str], bool]) -> None:
        for source in sorted(set(sources)):
            file = self.folder / f"{sha1(source.encode()).hexdigest()[:16]}.safetensors"
            if keep(source) and file.exists():
                self._kept[source] = from_file(file)
                continue
            pictures = self.read(source)
            self._kept[source] = self._encode(pictures)
            if self._kept[source][0].before:
                self._pictures[source] = pictures
            elif keep(source):
                to_file(self._kept[source], file)

    def _encode(self, pictures: list[np.ndarray]) -> list[VisualTokens]:
        frames = [Frame(picture, 0.0, i) for i, picture in enumerate(pictures)]
        batches = (frames[i : i + BATCH] for i in range(0, len(frames), BATCH))
        return [tokens for batch in batches for tokens in self.model.encode(batch)]

    def tokens(self, source: str, number: int, frame: Frame) -> VisualTokens:
        """A copy, which a policy may change. A clip shorter than announced stands still."""
        kept = self._kept[source]
        number = min(number, len(kept) - 1)
        if source in self._pictures:
            picture = self._pictures[source][number]
            return self.model.encode([replace(frame, image=picture)])[0]
        tokens = kept[number]
        seen = None if tokens.signature is None else tokens.signature.clone()
        return replace(
            tokens, embeds=tokens.embeds.clone(), signature=seen, pts=frame.pts, frame=frame.index
        )


def to_file(kept: list[VisualTokens], file: Path) -> None:
    tensors = {"grid": torch.tensor([t.grid for t in kept])}
    tensors["embeds"] = torch.stack([t.embeds for t in kept])
    if kept[0].signature is not None:
        tensors["signature"] = torch.stack([t.signature for t in kept])
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".tmp")
    save_file(tensors, part)
    part.replace(file)


def from_file(file: Path) -> list[VisualTokens]:
    tensors = load_file(file)
    seen = tensors.get("signature", [None] * len(tensors["grid"]))
    rows = zip(tensors["grid"].tolist(), tensors["embeds"], seen, strict=True)
    return [VisualTokens(e, tuple(grid), 0.0, i, signature=s) for i, (grid, e, s) in
            enumerate(rows)]


def fingerprint(model: VideoLLM) -> str:
    """Changes when the model's weights do, those of its encoder or of its language model."""
    ramp = np.indices((96, 128)).sum(0)[..., None].repeat(3, 2) % 256
    embeds = model.encode([Frame(ramp.astype(np.uint8), 0.0, 0)])[0].embeds.float()
    ids = [*model.prompt_ids(), *model.question_ids("What is there?")]
    logits = model.forward(model.text_chunk(ids, 0, Role.TEXT, 0.0), model.new_cache())
    numbers = torch.cat((embeds.mean(0)[:16].cpu(), logits[:16].cpu()))
    words = " ".join(f"{x:.2g}" for x in numbers.tolist())
    return f"{model.name.replace('/', '-')}-{sha1(words.encode()).hexdigest()[:12]}"


class Watching:
    """The model, whose encoder is a look-up: frame i is shot i of the stream."""

    def __init__(self, model: VideoLLM, looks: Looks, shots: Sequence[Shot]):
        self._model, self._looks, self._shots = model, looks, shots

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        return [self._looks.tokens(*self._shots[f.index], f) for f in frames]
