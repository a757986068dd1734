"""The app as a process of its own, for the picture of the page and for tests of the whole."""
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamassist.errors import StreamAssistError

ROOT = Path(__file__).resolve().parents[1]
FIRST_PORT = 21860        # the first free one from here is taken
START_S, END_S = 180.0, 30.0
LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Running:
    """Where the page is, and the file with all the app has printed so far."""

    url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[Running]:
    """`app.py` with these flags, until the block ends by Ctrl-C; its output lies in `folder`.

    Raises StreamAssistError with what it printed when it gives no address within `START_S`.
    """
    log = folder / "app.log"
    command = [sys.executable, "app.py", "--port", str(FIRST_PORT), *flags]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield Running(_address(process, log), log)
    finally:
        _end(process)


def _address(process: subprocess.Popen, log: Path) -> str:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"^Open (\S+) in your browser", log.read_text(), re.MULTILINE):
            return found[1]
        time.sleep(LOOK_EVERY_S)
    raise StreamAssistError(f"The app did not open its page; it printed: {log.read_text()[-2000:]}")


def _end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
