"""Pages of memory outside of the cache: in RAM, and in files when a folder is given.

A page is a run of frames as a `Block`. New pages are held in RAM; when its quota is full, those
longest without use go to the folder, and leave when that is full too. No trouble with a disk
stops a stream: the page concerned is dropped, counted and told in one sentence.
Frame numbers and ages are those of the stream that made a page; a folder serves one stream.
"""
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from streamassist.errors import StreamAssistError
from streamassist.pages.files import (
    FAULTS,
    Codec,
    Faults,
    Page,
    overwrite_file,
    pack,
    read_page,
    unpack,
    why_not_written,
    write_whole,
)
from streamassist.slots import Block

Writer = Callable[[Path, bytes], None]
UNBOUNDED = 1 << 62
NAME = re.compile(r"page-(\d{9,})\.(safetensors|tmp)")


@dataclass(slots=True)
class Held:
    """A page in the store: in RAM while it has a block, else in a file of `on_disk` bytes."""

    page: Page
    block: Block | None
    on_disk: int = 0

    @property
    def in_ram(self) -> int:
        return self.page.nbytes + (block_bytes(self.block) if self.block else 0)


class PageStore(Faults):
    """Pages under two quotas in bytes; `bytes()` never exceeds them.

    The mean keys and marks of all pages count as RAM; ram_tokens: most slots of the blocks there.
    codec: packs keys and values of files; write: puts
    bytes into a file, all or nothing. `dropped` pages were lost to a fault; `reasons` counts the
    faults, `fault` tells the last; `left` counts the pages that went for want of room.
    """

    def __init__(
        self,
        ram_bytes: int,
        disk_bytes: int = 0,
        folder: Path | None = None,
        codec: Codec | None = None,
        write: Writer | None = None,
        ram_tokens: int = UNBOUNDED,
    ):
        super().__init__()
        if min(ram_bytes, disk_bytes) < 0:
            raise StreamAssistError("A quota of the page store is negative; give bytes, 0 or more.")
        if folder and not disk_bytes:   # what a folder holds would be deleted to fit
            raise StreamAssistError(f"The folder {folder} has no quota; give it some bytes.")
        self.ram_bytes, self.disk_bytes, self.codec = ram_bytes, disk_bytes, codec
        self.ram_tokens = ram_tokens
        self.write = write or write_whole
        self.left = self.tokens = self._tokens_in_ram = 0
        self._held: dict[int, Held] = {}   # the longest without use first
        self._sizes = {"ram": 0, "disk": 0}
        self._next = 0
        self.folder = folder and self._reopen(folder)
        self._settle()

    # ------------------------------------------------------------ reading

    def __len__(self) -> int:
        return len(self._held)

    def bytes(self) -> dict[str, int]:
        """Bytes held in each tier: "ram", "disk"."""
        return dict(self._sizes)

    def pages(self) -> dict[int, Page]:
        """Every page by its id, oldest first."""
        ids = sorted(self._held, key=self._age)
        return {i: self._held[i].page for i in ids}

    def get(self, ids: Iterable[int]) -> list[tuple[Page, Block]]:
        """These pages in order of time, marked as just used; what is no longer there is left out.

        The blocks may be the store's own: not to be changed.
        """
        found = []
        for i in sorted(set(ids) & self._held.keys(), key=self._age):
            block = self._held[i].block or self._load(i)
            if block is not None:
                held = self._held[i] = self._held.pop(i)
                found.append((held.page, block))
        return found

    def _age(self, i: int) -> tuple[float, int]:
        return self._held[i].page.first, i

    def _load(self, i: int) -> Block | None:
        try:
            return unpack(self._path(i), self.codec)
        except FileNotFoundError:
            self._lose(i, "vanished", f"{self._path(i).name} has vanished; its frames are lost.")
        except FAULTS as error:
            self._lose(i, "damaged", f"{self._path(i).name} is damaged ({error}); it is dropped.")
        return None

    # ------------------------------------------------------------ writing

    def put(
        self, block: Block, thumbnail: str = "", marks: Mapping[str, Tensor] | None = None
    ) -> int | None:
        """Take over a block; its id, None when there was no room for it (or nothing in it)."""
        if not len(block.slots):
            return None
        i, self._next = self._next, self._next + 1
        resting = Block(at_rest(block.raw), at_rest(block.value), block.slots)
        self._enter(i, Held(Page.of(block, thumbnail, marks), resting))
        self._settle()
        return i if i in self._held else None

    def remove(self, i: int) -> None:
        """A page leaves because its owner needs the room."""
        if i in self._held:
            self._leave(i)

    def forget(self, since: float) -> list[int]:
        """Erase every page with a frame of `since` (pts) or later; the ids it had.

        What RAM held is overwritten, and so are the bytes of files before they go.
        """
        gone = [i for i, held in self._held.items() if held.page.last >= since]
        for i in gone:
            self._remove(i, overwrite=True)
        return gone

    def reset(self) -> None:
        """Erase everything; ids begin anew."""
        self.forget(float("-inf"))
        self._next = self.left = 0

    # ------------------------------------------------------------ quotas

    def _settle(self) -> None:
        """Bring both tiers back under their quotas."""
        while self._crowded() and (i := self._first(in_ram=True)) is not None:
            self._spill(i)
        while self._sizes["disk"] > self.disk_bytes or self._sizes["ram"] > self.ram_bytes:
            self._leave(self._first(in_ram=False))

    def _crowded(self) -> bool:
        return self._sizes["ram"] > self.ram_bytes or self._tokens_in_ram > self.ram_tokens

    def _first(self, in_ram: bool) -> int | None:
        """The page longest without use in a tier."""
        return next((i for i, h in self._held.items() if (h.block is not None) == in_ram), None)

    def _spill(self, i: int) -> None:
        """From RAM into a file; where it finds no room the page leaves."""
        held = self._held[i]
        try:
            data = pack(held.page, held.block, self.codec) if self.folder else b""
            if not self._make_room(len(data), i):
                return
            self.write(self._path(i), data)
        except FAULTS as error:
            reason, why = why_not_written(error)
            self._lose(
                i, reason, f"A page of memory could not be written to {self.folder} ({why})."
            )
            return
        self._count(held, -1)
        held.block, held.on_disk = None, len(data)
        self._count(held, 1)

    def _make_room(self, size: int, newcomer: int) -> bool:
        """Before a file is written, so that the quota holds at every moment: pages longer without
        use leave. False when the newcomer itself had to."""
        if not 0 < size <= self.disk_bytes:
            self._leave(newcomer)
        while newcomer in self._held and self._sizes["disk"] + size > self.disk_bytes:
            self._leave(next(i for i, h in self._held.items() if i == newcomer or not h.block))
        return newcomer in self._held

    def _leave(self, i: int) -> None:
        self._remove(i)
        self.left += 1

    def _enter(self, i: int, held: Held) -> None:
        self._held[i] = held
        self._count(held, 1)

    def _count(self, held: Held, sign: int) -> None:
        self._sizes["ram"] += sign * held.in_ram
        self._sizes["disk"] += sign * held.on_disk
        self.tokens += sign * held.page.tokens
        if held.block is not None:
            self._tokens_in_ram += sign * held.page.tokens

    def _remove(self, i: int, overwrite: bool = False) -> None:
        held = self._held.pop(i)
        self._count(held, -1)
        if overwrite:
            wipe(held)
        if held.on_disk:
            self._erase(self._path(i), overwrite)

    # ------------------------------------------------------------ files and faults

    def _path(self, i: int) -> Path:
        return self.folder / f"page-{i:09}.safetensors"

    def _reopen(self, folder: Path) -> Path | None:
        """Rebuild the index from the files; None where there can be none."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = {p: m for p in sorted(folder.iterdir()) if (m := NAME.fullmatch(p.name))}
        except OSError as error:
            self._tell("folder", f"{folder} cannot be used ({error.strerror}); RAM alone is used.")
            return None
        for path, match in found.items():
            self._next = max(self._next, int(match[1]) + 1)
            try:
                if match[2] == "tmp":
                    raise ValueError("half written")
                self._enter(int(match[1]), Held(read_page(path), None, path.stat().st_size))
            except FAULTS as error:
                self.dropped += 1
                self._tell("damaged", f"{path.name} is damaged ({error}); it is removed.")
                self._erase(path, overwrite=True)
        return folder

    def _lose(self, i: int, reason: str, sentence: str) -> None:
        self._remove(i)
        self.dropped += 1
        self._tell(reason, sentence)

    def _erase(self, path: Path, overwrite: bool) -> None:
        try:
            if overwrite:
                overwrite_file(path)
            path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            self._tell("not erased", f"{path} could not be erased ({error.strerror}); delete it.")


# ---------------------------------------------------------------- blocks in RAM

def at_rest(tensor: Tensor) -> Tensor:
    """In RAM; what came from a GPU in pinned RAM, from where it returns fastest."""
    if not tensor.is_cuda:
        return tensor
    try:
        return tensor.cpu().pin_memory()
    except RuntimeError:   # the system lends only so much of it
        return tensor.cpu()


def block_bytes(block: Block) -> int:
    return sum(t.nbytes for t in (block.raw, block.value, *block.slots.fields()))


def wipe(held: Held) -> None:
    with torch.inference_mode():   # where tensors made in inference mode may be written to
        for known in (held.page.key, *held.page.marks.values()):
            known.zero_()
        if held.block is not None:
            held.block.raw.zero_()
            held.block.value.zero_()
