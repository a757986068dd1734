"""A stream for `benchmarks.shape_runs`: what `Engine` does with a frame and a question, by stage.

It stands here once more without what a machine for GPU runs may lack (PyAV, OpenCV).
"""
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.shapes import drain, pictures

FPS = 8.0


class Watcher:
    """A model with a cache and a memory. spent: milliseconds by stage since `clear`; without
    `timed` nothing waits for the GPU between the stages."""

    def __init__(self, model: Any, memory: str, share: float = 1.0, timed: bool = True):
        from streamassist.config import make_method
        from streamassist.memory import METHODS

        self.model, self.share, self.timed = model, share, timed
        self.memory = make_method("memory", memory, METHODS)
        self.memory.attach(model)
        self.cache = opened(model)
        self.before: Any = None
        self.clear()

    def clear(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if not self.timed:
            yield
            return
        drain()
        begun = time.perf_counter()
        yield
        drain()
        self.spent[name] = self.spent.get(name, 0.0) + 1000 * (time.perf_counter() - begun)

    def observe(self, frame: Any) -> None:
        with self.stage("encode"):
            tokens = self.model.encode([frame])[0]
        with self.stage("reduce"):
            tokens = self.reduced(tokens)
        with self.stage("prefill"):
            self.memory.observe(tokens, self.cache)
            chunk = self.model.frame_chunk(tokens, self.cache.next_position)
            if self.memory.frame_queries:
                self.memory.queries = self.model.queries_of(chunk, self.cache)
            else:
                self.model.forward(chunk, self.cache)
        with self.stage("memory"):
            self.memory.after_prefill(self.cache)

    def reduced(self, tokens: Any) -> Any:
        """The share of the tokens least like those in their places before."""
        from kernels.token_similarity import token_similarity
        from streamassist.scoring import top_slots
        from streamassist.visual import rows_of

        if self.share == 1:
            return tokens
        now, before = tokens.embeds, self.before
        self.before = now
        alike = token_similarity(now, now if before is None else before, *tokens.grid[1:], 0)
        return rows_of(tokens, top_slots(-alike, round(self.share * len(now))))

    def ask(self, question: str) -> None:
        """To the first token; leaves no trace."""
        from streamassist.types import Role

        with self.stage("recall"):
            cache = self.memory.before_answer(self.cache, question)
        size = cache.size
        with self.stage("question"):
            ids = self.model.question_ids(question)
            chunk = self.model.text_chunk(ids, cache.next_position, Role.BRANCH, 0.0)
            int(self.model.forward(chunk, cache).argmax())
        cache.truncate(size)
        self.memory.after_answer(self.cache)


def opened(model: Any) -> Any:
    """A cache with the pinned prompt."""
    from streamassist.types import Role

    cache = model.new_cache()
    model.forward(model.text_chunk(model.prompt_ids(), 0, Role.PROMPT, 0.0), cache)
    cache.pin()
    return cache


def pairs(count: int) -> list[Any]:
    from models.pairs import paired

    return list(paired(pictures(2 * count, FPS)))


def prefilled(model: Any, seen: Sequence[Any]) -> Any:
    """A fresh cache with the prompt and these frames."""
    cache = opened(model)
    for tokens in seen:
        model.forward(model.frame_chunk(tokens, cache.next_position), cache)
    return cache


def encoded(model: Any, frames: Sequence[Any]) -> list[Any]:
    return [tokens for i in range(0, len(frames), 8) for tokens in model.encode(frames[i : i + 8])]


def once_ms(action: Callable[[], Any]) -> float:
    drain()
    begun = time.perf_counter()
    action()
    drain()
    return 1000 * (time.perf_counter() - begun)
