"""Where things lie on disk, and how a file is known to be the right one. Standard library only."""
import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def cache_dir() -> Path:
    """Folder of everything made at set-up; `STREAMASSIST_CACHE` moves it."""
    return Path(os.environ.get("STREAMASSIST_CACHE", ROOT / ".cache"))


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
