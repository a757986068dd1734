"""What one page still has to be told: text in order and never dropped, pictures and counters newest
only.

Any thread may put; the page's own asyncio task takes. Nothing here waits, so a slow page never
holds up the worker: when its text queue is full, it is told to reconnect and read the history.
"""
import asyncio
import threading
from collections import deque
from typing import Any

Line = dict[str, Any]

MAX_LINES = 1000


class TooSlow(Exception):
    """The page is hopelessly behind."""


class Outbox:
    def __init__(self, loop: asyncio.AbstractEventLoop, max_lines: int = MAX_LINES):
        self._loop = loop
        self._max_lines = max_lines
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque()
        self._newest: dict[str, Line | bytes] = {}
        self._overflowed = False
        self._filled = asyncio.Event()
        self._woken = False

    def put(self, line: Line) -> None:
        """Queue a line; pieces of one answer that wait together are joined."""
        with self._lock:
            if self._overflowed or self._joined(line):
                return
            if len(self._lines) >= self._max_lines:
                self._overflowed = True
                self._lines.clear()
            else:
                self._lines.append(line)
            self._wake()

    def put_newest(self, slot: str, item: Line | bytes) -> None:
        """Replace what waits in `slot`: counters, acknowledgements, pictures."""
        with self._lock:
            self._newest[slot] = item
            self._wake()

    async def take(self) -> list[Line | bytes]:
        """Everything that waits, text first. Raises TooSlow when text had to be thrown away."""
        await self._filled.wait()
        with self._lock:
            self._filled.clear()
            self._woken = False
            if self._overflowed:
                raise TooSlow
            items = [*self._lines, *self._newest.values()]
            self._lines.clear()
            self._newest.clear()
        return items

    def _joined(self, line: Line) -> bool:
        last = self._lines[-1] if self._lines else None
        if last is None or not line["type"] == last["type"] == "text_delta":
            return False
        if line["turn"] != last["turn"]:
            return False
        self._lines[-1] = {**line, "text": last["text"] + line["text"]}
        return True

    def _wake(self) -> None:
        """At most one wake-up is under way, so the event loop's own queue stays bounded too."""
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._filled.set)
            except RuntimeError:
                self._overflowed = True     # the loop is closed: nobody will read this any more
