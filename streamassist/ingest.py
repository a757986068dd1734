"""Files faster than they play: decoding ahead of the model, several parts of a file at a time.

QuickDecoder (QuickVideo, arXiv 2505.16175): a file is split at its key frames, the parts are
decoded by several workers, the pictures come out in order. Live sources have no future to decode.
Frames may also be handed on in groups, to be encoded together.
"""
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice, pairwise
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np

from streamassist.types import Frame
from streamassist.video import VideoFile

T = TypeVar("T")
Shot = tuple[np.ndarray, float]

AHEAD = 8          # pictures decoded before they are wanted
PART_S = 4.0       # least length of a part: short groups of pictures go together
WORKERS = max(1, (os.cpu_count() or 1) - 1)
_POLL_S = 0.1


class _Fetcher:
    """Takes items from an iterator into a bounded queue, until it is told to stop."""

    def __init__(self, items: Iterator[Any], depth: int):
        self.items, self.stopped = items, Event()
        self.ready: Queue[tuple[str, Any]] = Queue(depth)

    def run(self) -> None:
        try:
            for item in self.items:
                if not self.put("item", item):
                    return
            self.put("end")
        except Exception as error:   # told to the consumer, who knows what to do
            self.put("error", error)

    def put(self, kind: str, item: Any = None) -> bool:
        while not self.stopped.is_set():
            try:
                self.ready.put((kind, item), timeout=_POLL_S)
                return True
            except Full:
                continue
        return False


def ahead(items: Iterator[T], depth: int = AHEAD) -> Iterator[T]:
    """The same items; a thread of its own fetches up to `depth` of them in advance.

    What the source raises is raised here, behind the items before it. A consumer that stops early
    stops the thread.
    """
    fetcher = _Fetcher(items, depth)
    thread = Thread(target=fetcher.run, name="decode-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = fetcher.ready.get()   # the thread always ends with "end" or "error"
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        fetcher.stopped.set()
        thread.join()


def frames_in_parts(video: VideoFile, fps: float, workers: int = WORKERS) -> Iterator[Shot]:
    """As `video.frames(fps)`, decoded by so many workers; of a file of one part by one, and what is
    no file but has `frames` as well."""
    starts = parts_of(video) if workers > 1 and isinstance(video, VideoFile) else []
    if len(starts) < 2:
        yield from video.frames(fps)
        return
    spans = [*pairwise(starts), (starts[-1], None)]
    tasks: list[Callable[[], list[Shot]]] = [
        lambda a=a, b=b: list(video.frames_between(fps, a, b)) for a, b in spans
    ]
    yield from chain.from_iterable(in_order(tasks, workers))


def in_groups(
    frames: Iterator[Frame], size: int, prepare: Callable[[list[Frame]], None]
) -> Iterator[Frame]:
    """The same frames; each `size` of them are given to `prepare` when the group before them is
    begun. What the source raises is raised here, behind the frames before it."""
    frames, fault = iter(frames), []

    def group() -> list[Frame]:
        taken: list[Frame] = []
        try:
            taken.extend(islice(frames, size))
        except Exception as error:   # `taken` has the frames before it
            fault.append(error)
        if taken:
            prepare(taken)
        return taken

    now = group()
    while now:
        following = [] if fault else group()
        yield from now
        now = following
    if fault:
        raise fault[0]


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
