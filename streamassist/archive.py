"""Thumbnails of the frames that were used: in memory, under a quota, gone with the session."""
from bisect import bisect_left
from collections import deque
from threading import Lock


class Archive:
    """A ring of (pts, JPEG); when the quota is reached the oldest leave. Safe from any thread."""

    def __init__(self, quota_bytes: int = 32 << 20):
        self.quota_bytes = quota_bytes
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._items: deque[tuple[float, bytes]] = deque()
            self.bytes = 0

    def add(self, pts: float, jpeg: bytes) -> None:
        with self._lock:
            self._items.append((pts, jpeg))
            self.bytes += len(jpeg)
            while self.bytes > self.quota_bytes:
                self.bytes -= len(self._items.popleft()[1])

    def nearest(self, pts: float, within_s: float = 2.0) -> tuple[float, bytes] | None:
        """The thumbnail closest to `pts`, None when none is near enough."""
        with self._lock:
            items = list(self._items)
        if not items:
            return None
        at = bisect_left(items, (pts, b""))
        best = min(items[max(0, at - 1) : at + 1], key=lambda item: abs(item[0] - pts))
        return best if abs(best[0] - pts) <= within_s else None
