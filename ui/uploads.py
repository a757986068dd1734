"""Video files the user handed to the page: the only ones it may open. Gone when the server ends."""
import errno
import logging
import re
import secrets
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from streamassist.errors import StreamAssistError

log = logging.getLogger(__name__)

MAX_BYTES = 2 << 30
MAX_FILES = 3


class Uploads:
    """Keeps the newest `MAX_FILES`; an open file that is removed stays readable until closed."""

    def __init__(self, max_bytes: int = MAX_BYTES):
        self.max_bytes = max_bytes
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="streamassist-")
        except OSError as error:
            raise StreamAssistError(
                f"No folder for uploaded files can be made ({error.strerror}); free some space, or "
                "name a folder with TMPDIR."
            ) from None
        self._paths: dict[str, Path] = {}

    def path(self, key: str) -> Path:
        if key not in self._paths:
            raise StreamAssistError("That file is not on the server any more; choose it again.")
        return self._paths[key]

    async def save(self, name: str, body: AsyncIterator[bytes]) -> str:
        """Store what arrives; returns the key that opens it. Raises StreamAssistError."""
        key = secrets.token_urlsafe(12)
        path = Path(self._folder.name) / f"{len(self._paths)}-{key}{_suffix(name)}"
        try:
            await self._write(path, body)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._paths[key] = path
        while len(self._paths) > MAX_FILES:
            self._paths.pop(next(iter(self._paths))).unlink(missing_ok=True)
        return key

    async def _write(self, path: Path, body: AsyncIterator[bytes]) -> None:
        size = 0
        try:
            with path.open("wb") as file:
                async for piece in body:
                    size += len(piece)
                    if size > self.max_bytes:
                        raise StreamAssistError(
                            f"The file is larger than {self.max_bytes >> 20} MB; "
                            "choose a shorter clip."
                        )
                    file.write(piece)
        except OSError as error:
            raise _no_room(error) from error
        if not size:
            raise StreamAssistError("The file is empty; choose a video file.")

    def close(self) -> None:
        self._folder.cleanup()


def _suffix(name: str) -> str:
    found = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
    return found[0].lower() if found else ""


def _no_room(error: OSError) -> StreamAssistError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StreamAssistError(
            f"The disk of the server is full ({tempfile.gettempdir()}); free some space and "
            "choose the file again."
        )
    log.error("upload failed: %s", error)
    return StreamAssistError(
        f"The server could not store the file in {tempfile.gettempdir()}; check that folder."
    )
