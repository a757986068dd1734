"""A page as a file: safetensors with a SHA-256 in the header, written whole, read with care."""
import errno
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from streamassist.slots import Block, Slots

# (L, H, T, D) -> named tensors that are smaller, and back.
Codec = tuple[Callable[[Tensor], Mapping[str, Tensor]], Callable[[Mapping[str, Tensor]], Tensor]]

# What a bad file or a bad disk may raise.
FAULTS = (OSError, SafetensorError, LookupError, ValueError, TypeError, RuntimeError)
FACTS = tuple(f.name for f in fields(Slots))
MARK = "mark."   # before the names of a page's marks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """What is known of a page without its block. key: (L, Hk, D) mean raw key, float32; `first`,
    `last`: pts in seconds; thumbnail: where a picture of it can be found, "" for nowhere; marks:
    what else its method finds it by, on the CPU."""

    key: Tensor
    frames: tuple[int, ...]
    first: float
    last: float
    tokens: int
    thumbnail: str = ""
    marks: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.key, *self.marks.values()))

    @classmethod
    def of(
        cls, block: Block, thumbnail: str = "", marks: Mapping[str, Tensor] | None = None
    ) -> "Page":
        slots = block.slots
        frames = slots.frame[slots.frame >= 0].unique().tolist()
        first, last = float(slots.pts.min()), float(slots.pts.max())
        key = block.raw.float().mean(2).cpu()
        return cls(key, tuple(frames), first, last, len(slots), thumbnail, dict(marks or {}))


class Faults:
    """What went wrong with a disk: `dropped` things were lost to it, `reasons` counts the faults,
    `fault` tells the last in a sentence."""

    def __init__(self) -> None:
        self.dropped, self.fault = 0, ""
        self.reasons: Counter[str] = Counter()

    def _tell(self, reason: str, sentence: str) -> None:
        """Count a fault; the first of its kind is told, a full disk would else fill the log."""
        self.reasons[reason] += 1
        self.fault = sentence
        log.log(logging.WARNING if self.reasons[reason] == 1 else logging.DEBUG, "%s", sentence)


def why_not_written(error: Exception) -> tuple[str, str]:
    """(kind of fault, words for it)."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk full", "the disk is full"
    return "not written", getattr(error, "strerror", None) or str(error)


def pack(page: Page, block: Block, codec: Codec | None) -> bytes:
    """A safetensors file: keys and values (packed by the codec), facts of the slots, mean key and
    marks.

    Its header has two SHA-256: `index` of what is read when a folder is opened, and `whole`.
    """
    tensors = {"key": page.key, **{MARK + name: mark for name, mark in page.marks.items()}}
    index = {name: tensor.contiguous() for name, tensor in tensors.items()}
    tensors |= {name: getattr(block.slots, name) for name in FACTS}
    for name, tensor in (("raw", block.raw), ("val", block.value)):
        parts = {"": tensor} if codec is None else codec[0](tensor)
        tensors |= {f"{name}.{part}": value for part, value in parts.items()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    facts = json.dumps({
        "frames": page.frames, "first": page.first, "last": page.last, "tokens": page.tokens,
        "thumbnail": page.thumbnail, "dtype": str(block.raw.dtype).removeprefix("torch."),
        "packed": codec is not None,
    })
    digests = {"index": digest(index, facts), "whole": digest(tensors, facts)}
    return save(tensors, {"facts": facts, **digests})


def digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    total = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def _checked(path: Path, part: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a file ("whole" or its "index"), once their SHA-256 fits.

    Copies: a mapped file that shrinks would end the process.
    """
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
        names = [n for n in file.keys() if part == "whole" or n == "key" or n.startswith(MARK)]
        tensors = {name: file.get_tensor(name).clone() for name in names}
    facts = header["facts"]
    if digest(tensors, facts) != header[part]:
        raise ValueError("its SHA-256 is another")
    return tensors, json.loads(facts)


def read_page(path: Path) -> Page:
    tensors, facts = _checked(path, "index")
    key = tensors.pop("key")
    return Page(
        key, tuple(facts["frames"]), facts["first"], facts["last"], facts["tokens"],
        facts["thumbnail"], {name.removeprefix(MARK): mark for name, mark in tensors.items()},
    )


def unpack(path: Path, codec: Codec | None) -> Block:
    tensors, facts = _checked(path, "whole")
    if facts["packed"] != (codec is not None):
        raise ValueError("it was written with another codec")
    both = []
    for name in ("raw.", "val."):
        parts = {n.removeprefix(name): t for n, t in tensors.items() if n.startswith(name)}
        both.append(parts[""] if codec is None else codec[1](parts))
    dtype = getattr(torch, facts["dtype"])
    return Block(*(t.to(dtype) for t in both), Slots(*(tensors[n] for n in FACTS)))


def write_whole(path: Path, data: bytes) -> None:
    """All of it under its name or nothing. What a power failure leaves is found by its SHA-256,
    so there is no waiting for the disk."""
    part = path.with_suffix(".tmp")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def overwrite_file(path: Path) -> None:
    """Zeros over every byte, brought to the disk."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
