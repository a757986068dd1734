"""What a memory policy may do, and when. One file a method; this one knows no method."""
from dataclasses import dataclass

import torch

from streamassist.cache import KVCache
from streamassist.config import check_range
from streamassist.types import Role, VisualTokens


@dataclass
class MemoryPolicy:
    """Called by the engine; every hook may leave the cache alone.

    A policy sees the stream only: branches (questions, answers) are lifted off before any hook but
    `before_answer`. Each conversation has its own copy, so state stays with it.
    """

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        """Before a frame is prefilled."""

    def after_prefill(self, cache: KVCache) -> None:
        """After a frame was prefilled: bring the cache back under its budget."""

    def before_answer(self, cache: KVCache, question: str) -> None:
        """Before a question is prefilled: recall what it may need."""

    def after_answer(self, cache: KVCache) -> None:
        """After the branch was dropped."""

    def reset(self) -> None:
        """Forget all state of the stream."""


MAX_TOKENS = 1_000_000   # of any budget; a machine's memory ends long before


def check_setting(policy: MemoryPolicy, name: str, low: float, high: float) -> None:
    """Raise StreamAssistError, naming the setting, when a policy's field is out of range."""
    check_range(f"The memory setting {name}", getattr(policy, name), low, high)


def drop_frames(cache: KVCache, frames: set[int]) -> None:
    """Evict every slot of these frames and close the gaps in the positions."""
    if not frames:
        return
    used = cache.used()
    gone = torch.isin(used.frame, torch.tensor(sorted(frames))) & (used.role == Role.VISUAL)
    cache.keep(~gone[cache.num_pinned :])
    cache.renumber()


def frame_sizes(cache: KVCache) -> tuple[list[int], list[int]]:
    """(frame indices, slots each takes), oldest first."""
    used = cache.used()
    visual = used.frame[used.role == Role.VISUAL]
    frames, counts = torch.unique_consecutive(visual, return_counts=True)
    return frames.tolist(), counts.tolist()


def oldest_until(frames: list[int], counts: list[int], excess: int, spare: int = 1) -> set[int]:
    """The oldest frames that free at least `excess` slots; the newest `spare` always stay."""
    gone: set[int] = set()
    last = max(0, len(frames) - spare)
    for frame, count in zip(frames[:last], counts[:last], strict=True):
        if excess <= 0:
            break
        gone.add(frame)
        excess -= count
    return gone
