"""Thumbnails of the frames that were used: in memory, under a quota, gone with the session."""
from collections import OrderedDict
from threading import Lock


class Archive:
    """JPEGs by frame index; when the quota is reached the oldest leave. Safe from any thread."""

    def __init__(self, quota_bytes: int = 32 << 20):
        self.quota_bytes = quota_bytes
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._items: OrderedDict[int, bytes] = OrderedDict()
            self.bytes = 0

    def add(self, frame: int, jpeg: bytes) -> None:
        with self._lock:
            self.bytes += len(jpeg) - len(self._items.pop(frame, b""))
            self._items[frame] = jpeg
            while self.bytes > self.quota_bytes:
                self.bytes -= len(self._items.popitem(last=False)[1])

    def get(self, frame: int) -> bytes | None:
        """The thumbnail of a frame, None when it is not held (any more)."""
        with self._lock:
            return self._items.get(frame)
