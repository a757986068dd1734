"""Blocks of made-up frames, and page stores that are as small as they can be."""
from pathlib import Path

import torch

from made_up import DIM, HEADS, LAYERS, keys_of
from streamassist.pages import PageStore
from streamassist.slots import Block, Slots

ROOM = 1 << 20
TOKENS = 4


def block_of(frame: int, frames: int = 1, planes: int = 1) -> Block:
    """`frames` frames of 4 tokens from `frame` on, half a second apart."""
    count = TOKENS * frames
    slots = Slots.empty(1, count, planes)
    number = torch.arange(frame, frame + frames).repeat_interleave(TOKENS)
    slots.frame[:], slots.pts[:], slots.group[:] = number, number * 0.5, number
    slots.role[:], slots.span[:] = 1, TOKENS
    raw = keys_of(frame, count)
    return Block(raw, raw + 1, slots)


def same(a: Block, b: Block, atol: float = 0.0) -> None:
    for mine, theirs in ((a.raw, b.raw), (a.value, b.value)):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, atol=atol, rtol=0)
    for mine, theirs in zip(a.slots.fields(), b.slots.fields(), strict=True):
        assert mine.dtype == theirs.dtype and torch.equal(mine, theirs)


KEY = LAYERS * HEADS * DIM * 4
HELD = 2 * LAYERS * HEADS * TOKENS * DIM * 4 + TOKENS * (5 * 8 + 8 + 1) + KEY   # one frame, in RAM


def on_disk(folder: Path, ram: int = KEY * 99, disk: int = ROOM, **more) -> PageStore:
    """A store whose every page goes to the folder: RAM takes the mean keys alone, but for a
    page's width."""
    return PageStore(min(ram, HELD - 1), disk, folder, **more)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def len_of_file(folder: Path) -> int:
    on_disk(folder).put(block_of(0))
    return files(folder)[0].stat().st_size
