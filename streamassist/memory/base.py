"""What a memory policy may do, and when. One file a method; this one knows no method."""
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.config import check_range
from streamassist.types import Role, VideoLLM, VisualTokens


@dataclass
class MemoryPolicy:
    """Called by the engine; every hook may leave the cache alone.

    A policy sees the stream only: branches (questions, answers) are lifted off before any hook.
    Each conversation has its own copy, so state stays with it. A policy with `frame_queries` finds
    the raw queries (L, Hq, S, D) of the frame just prefilled in `queries`.
    """

    frame_queries: ClassVar[bool] = False
    any_slots: ClassVar[bool] = False   # a frame may lose slots to others (a token reducer)
    queries: ClassVar[Tensor | None] = None
    model: ClassVar[VideoLLM | None] = None
    fault: ClassVar[str] = ""   # the last trouble with a disk, for the user

    def attach(self, model: VideoLLM) -> None:
        """The model whose cache it will serve; once, before anything else."""
        self.model = model

    def use_disk(self, folder: Path, disk_bytes: int) -> None:
        """A folder for what does not fit into RAM, with its quota; what it holds is read."""

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        """Before a frame is prefilled."""

    def after_prefill(self, cache: KVCache) -> None:
        """After a frame was prefilled: bring the cache back under its budget."""

    def before_answer(self, cache: KVCache, question: str) -> KVCache:
        """Before a question is prefilled: the cache it is answered on.

        The stream's own, where the answer follows the frames that come; or a copy with what the
        question needs (`KVCache.opening`, `insert`), where the answer sees no newer frame.
        """
        return cache

    def after_answer(self, cache: KVCache) -> None:
        """After the branch was dropped; `cache` is the stream's."""

    def evidence(self) -> list[tuple[int, float]]:
        """(frame, score) of what the last `before_answer` recalled, best first."""
        return []

    def supported(self) -> bool:
        """False when nothing in memory supports an answer to the last `before_answer`."""
        return True

    def held_frames(self) -> set[int]:
        """Frames held outside of the cache, which an answer may rest on."""
        return set()

    def oldest(self) -> float | None:
        """Stream time of the oldest frame held outside of the cache."""
        return None

    def bytes(self) -> dict[str, int]:
        """What is held outside of the stream's cache, in bytes by tier: gpu, ram, disk."""
        tiers = {"gpu": 0, "ram": 0, "disk": 0}
        for tensor in tensors_in([getattr(self, f.name) for f in fields(self) if not f.init]):
            tiers["gpu" if tensor.is_cuda else "ram"] += tensor.nbytes
        return tiers

    def forget(self, cache: KVCache, since: float) -> None:
        """Forget what came at stream time `since` and later; the engine wipes the bytes after.

        A policy with state of its own (it has a `reset`) forgets everything, unless it knows
        better: half a state would no longer fit the cache.
        """
        stateless = type(self).reset is MemoryPolicy.reset
        drop_since(cache, since if stateless else float("-inf"))
        self.reset()

    def reset(self) -> None:
        """Forget all state of the stream."""


def tensors_in(thing: Any) -> Iterator[Tensor]:
    """All tensors in a policy's state: containers, dataclasses, stores and caches of answers."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, KVCache):
        used = slice(thing.size)
        yield from (b[:, :, used] for b in (thing.raw, thing.rotated, thing.value))
    elif isinstance(thing, Mapping):
        yield from tensors_in(list(thing.values()))
    elif isinstance(thing, Iterable) and not isinstance(thing, str | bytes):
        for item in thing:
            yield from tensors_in(item)
    elif is_dataclass(thing):
        yield from tensors_in([getattr(thing, f.name) for f in fields(thing)])
    elif hasattr(thing, "__dict__"):
        yield from tensors_in(vars(thing))


CONTEXT_RESERVE = 1024   # positions of the model left for the prompt, a question and its answer
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


def drop_since(cache: KVCache, since: float) -> None:
    """Drop the slots that hold a frame of stream time `since` or later in any layer."""
    used = cache.in_use()
    old = ((used.pts < since) | (used.role != Role.VISUAL)).all(0)
    cache.keep(old[cache.num_pinned :])


def drop_oldest(cache: KVCache, count: int) -> None:
    """Evict the oldest slots, at least `count` of them: whole frames where layers agree."""
    if cache.layered:
        cache.keep(torch.arange(len(cache)) >= count)
        cache.renumber(ranks=True)
    else:
        drop_frames(cache, oldest_until(*frame_sizes(cache), count))


def question_queries(model: VideoLLM, cache: KVCache, question: str) -> Tensor:
    """Raw queries (L, Hq, S, D) of the question as it would be asked here; leaves no trace."""
    size, ids = cache.size, model.question_ids(question)
    try:
        return model.queries_of(
            model.text_chunk(ids, cache.next_position, Role.BRANCH, 0.0), cache
        )
    finally:
        cache.truncate(size)


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
