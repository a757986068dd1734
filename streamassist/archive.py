"""Thumbnails of the frames that were used: in RAM under a quota, and in files when asked for.

A file is the JPEG with a SHA-256 behind it, which viewers of pictures pass over. No trouble with a
disk stops a stream: the picture concerned is dropped, counted and told. Frame numbers belong to one
session, so what an earlier one left in the folder is erased.
"""
import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Lock

from streamassist.pages.files import Faults, overwrite_file, why_not_written, write_whole

NAME = re.compile(r"thumbnail-\d{9,}-\d{9,}ms\.(jpg|tmp)")   # frame, pts
DIGEST = 32            # bytes
MAX_FILES = 500_000    # three days at 2 fps; what is known of each takes some 200 bytes of RAM
MOST_SPARED = 32
ERASERS = 4            # threads: each file waits for the disk, and disks take several at a time


class Archive(Faults):
    """JPEGs by frame index; when a quota is reached the oldest leave. Safe from any thread.

    Without `folder` they leave RAM for nowhere, with one for files of `disk_bytes` together.
    `in_ram`, `on_disk`: bytes held; `dropped` pictures were lost to a fault.
    """

    def __init__(
        self, quota_bytes: int = 32 << 20, folder: Path | None = None, disk_bytes: int = 0
    ):
        super().__init__()
        self.quota_bytes, self.disk_bytes = quota_bytes, disk_bytes
        self.in_ram = self.on_disk = 0
        self._lock = Lock()
        self._ram: dict[int, tuple[float, bytes]] = {}   # frame -> (pts, JPEG), oldest first
        self._disk: dict[int, tuple[float, int]] = {}    # frame -> (pts, bytes of the file)
        self._protected: set[int] = set()
        self.folder = folder
        if folder:
            self._open(folder)

    # ------------------------------------------------------------ reading

    def get(self, frame: int) -> bytes | None:
        """The thumbnail of a frame, None when it is not held (any more)."""
        with self._lock:
            if frame in self._ram:
                return self._ram[frame][1]
            return self._read(frame) if frame in self._disk else None

    def _read(self, frame: int) -> bytes | None:
        path, size = self._path(frame), self._disk[frame][1]
        try:
            with path.open("rb") as file:
                data = file.read(size + 1)   # no more, whatever it has become
        except FileNotFoundError:
            self._lose(frame, "vanished", f"A thumbnail has vanished from {self.folder}; leave the "
                                          "files there alone while the program runs.")
            return None
        except OSError as error:
            self._lose(frame, "not read", f"A thumbnail in {self.folder} cannot be read "
                                          f"({error.strerror}); it is dropped.")
            return None
        jpeg = data[:-DIGEST]
        if data[-DIGEST:] != digest(path.name, jpeg):
            self._lose(frame, "damaged", f"A thumbnail in {self.folder} is damaged; it is dropped. "
                                         "If that goes on, name another disk with --keep.")
            return None
        return jpeg

    def frames(self, since: float = 0.0) -> list[tuple[int, float]]:
        """(frame, pts) of the pictures held of stream time `since` and later, oldest first."""
        with self._lock:
            held = [(pts, f) for tier in (self._disk, self._ram) for f, (pts, _) in tier.items()]
        return [(frame, pts) for pts, frame in sorted(held) if pts >= since]

    def figures(self) -> dict[str, int]:
        """Bytes held in each tier, and pictures lost to faults."""
        return {"ram": self.in_ram, "disk": self.on_disk, "dropped": self.dropped}

    # ------------------------------------------------------------ writing

    def add(self, frame: int, pts: float, jpeg: bytes) -> None:
        """Take a picture of stream time `pts` in seconds; it is the newest from now on."""
        with self._lock:
            self._drop(frame)
            self._ram[frame] = pts, jpeg
            self.in_ram += len(jpeg)
            while self.in_ram > self.quota_bytes:
                if self.folder:
                    self._spill(next(iter(self._ram)))
                else:
                    self._drop(self._least(self._ram))

    def protect(self, frames: set[int]) -> None:
        """Pictures of these frames leave last, until the next call; others are ignored."""
        with self._lock:
            self._protected = {f for f in frames if f in self._ram or f in self._disk}

    def forget(self, since: float) -> None:
        """Drop the pictures of stream time `since` and later; the bytes of files are overwritten
        before they go."""
        with self._lock:
            tiers = self._ram, self._disk
            gone = [f for tier in tiers for f, (pts, _) in tier.items() if pts >= since]
            self._erase([self._path(f) for f in gone if f in self._disk])
            for frame in gone:
                self._forget_entry(frame)

    def clear(self) -> None:
        """Forget everything."""
        self.forget(float("-inf"))

    # ------------------------------------------------------------ quotas

    def _least(self, tier: dict[int, tuple]) -> int:
        """Who leaves a tier: the oldest that is not protected, else the oldest.

        The newest are spared: nobody could protect them yet.
        """
        spared = max(1, min(MOST_SPARED, len(tier) // 4))
        old = islice(tier, len(tier) - spared)
        return next((f for f in old if f not in self._protected), next(iter(tier)))

    def _spill(self, frame: int) -> None:
        """From RAM into a file, for which others leave first: the quota holds at every moment."""
        pts, jpeg = self._ram[frame]
        size = len(jpeg) + DIGEST
        self._drop(frame)
        if size > self.disk_bytes:
            return
        while self.on_disk + size > self.disk_bytes or len(self._disk) >= MAX_FILES:
            self._drop(self._least(self._disk))
        self._disk[frame] = pts, size
        self.on_disk += size
        path = self._path(frame)
        try:
            write_whole(path, jpeg + digest(path.name, jpeg))
        except OSError as error:
            reason, why = why_not_written(error)
            self._lose(frame, reason,
                       f"Thumbnails cannot be written to {self.folder} ({why}) and are dropped; "
                       "free some space, or name another folder with --keep.")

    def _drop(self, frame: int) -> None:
        if frame in self._disk:
            self._unlink(self._path(frame))
        self._forget_entry(frame)

    def _forget_entry(self, frame: int) -> None:
        self.in_ram -= len(self._ram.pop(frame, (0.0, b""))[1])
        self.on_disk -= self._disk.pop(frame, (0.0, 0))[1]

    # ------------------------------------------------------------ files and faults

    def _path(self, frame: int) -> Path:
        ms = round(1000 * max(0.0, self._disk[frame][0]))
        return self.folder / f"thumbnail-{frame:09}-{ms:09}ms.jpg"

    def _open(self, folder: Path) -> None:
        """Erase what another session left there; do without a folder that cannot be used."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = [p for p in folder.iterdir() if NAME.fullmatch(p.name)]
            self._erase(p for p in found if p.is_file() and not p.is_symlink())
        except OSError as error:
            self._tell("folder", f"{folder} cannot be used ({error.strerror}); thumbnails stay in "
                                 "RAM. Name another folder with --keep.")
            self.folder = None

    def _erase(self, paths: Iterable[Path]) -> None:
        """Zeros over the bytes of these files, then the files."""
        paths = list(paths)
        if not paths:
            return
        with ThreadPoolExecutor(ERASERS) as pool:
            errors = list(pool.map(overwrite, paths))
        for path, error in zip(paths, errors, strict=True):
            if error:
                self._tell_left(error)
            self._unlink(path)

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._tell_left(error)

    def _tell_left(self, error: OSError) -> None:
        self._tell("not erased", f"Thumbnails in {self.folder} could not be erased "
                                 f"({error.strerror}); delete that folder.")

    def _lose(self, frame: int, reason: str, sentence: str) -> None:
        self._drop(frame)
        self.dropped += 1
        self._tell(reason, sentence)

    # Last: inside this class the name means no type from here on.
    @property
    def bytes(self) -> int:
        """Of RAM."""
        return self.in_ram


def digest(name: str, jpeg: bytes) -> bytes:
    """SHA-256 of a picture and its name: a file under another's name is as bad as a damaged one."""
    return hashlib.sha256(name.encode() + jpeg).digest()


def overwrite(path: Path) -> OSError | None:
    """Zeros over every byte of a file; what prevented it. A link's target is not ours."""
    try:
        if not path.is_symlink():
            overwrite_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None
