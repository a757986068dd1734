"""Files faster than they play: decoding ahead of the model, several parts of a file at a time.

QuickDecoder (QuickVideo, arXiv 2505.16175): a file is split at its key frames, the parts are decoded
by several workers, the pictures come out in order. Live sources have no future to decode.
"""
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np

from streamassist.video import VideoFile

T = TypeVar("T")
Shot = tuple[np.ndarray, float]

AHEAD = 8          # pictures decoded before they are wanted
PART_S = 4.0       # least length of a part: short groups of pictures go together
WORKERS = max(1, (os.cpu_count() or 1) - 1)
_POLL_S = 0.1


def ahead(items: Iterator[T], depth: int = AHEAD) -> Iterator[T]:
    """The same items; a thread of its own fetches up to `depth` of them in advance.

    What the source raises is raised here, behind the items before it. A consumer that stops early
    stops the thread.
    """
    ready: Queue[tuple[str, Any]] = Queue(depth)
    stopped = Event()

    def put(kind: str, item: Any = None) -> bool:
        while not stopped.is_set():
            try:
                ready.put((kind, item), timeout=_POLL_S)
                return True
            except Full:
                continue
        return False

    def fetch() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end")
        except Exception as error:   # told to the consumer, who knows what to do
            put("error", error)

    thread = Thread(target=fetch, name="decode-ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                kind, item = ready.get(timeout=_POLL_S)
            except Empty:
                continue
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def frames_in_parts(video: VideoFile, fps: float, workers: int = WORKERS) -> Iterator[Shot]:
    """As `video.frames(fps)`, decoded by so many workers; of a file of one part by one."""
    starts = parts_of(video)
    if workers < 2 or len(starts) < 2:
        yield from video.frames(fps)
        return
    spans = [*pairwise(starts), (starts[-1], None)]
    tasks: list[Callable[[], list[Shot]]] = [
        lambda a=a, b=b: list(video.frames_between(fps, a, b)) for a, b in spans
    ]
    yield from chain.from_iterable(in_order(tasks, workers))


def parts_of(video: VideoFile) -> list[float]:
    """Where parts may begin, in seconds: the first frame, and key frames `PART_S` or more apart."""
    starts = [0.0]
    for t in video.key_times():
        if t >= starts[-1] + PART_S:
            starts.append(t)
    return starts


def in_order(tasks: list[Callable[[], T]], workers: int) -> Iterator[T]:
    """The results of the tasks in their order; at most one more than `workers` are under way or
    waiting to be taken, so that memory stays bounded."""
    with ThreadPoolExecutor(workers, "decode") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
