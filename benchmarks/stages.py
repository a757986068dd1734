"""Where the time goes: methods timed in place, each under the name of a stage."""
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stages:
    """spent: milliseconds by stage since `clear`; a stage within another counts for itself alone.
    wait: called before each look at the clock, for what a GPU has still to do."""

    def __init__(self, wait: Callable[[], None] = lambda: None):
        self.wait = wait
        self.spent: dict[str, float] = {}
        self._within: list[float] = []   # of each stage under way, what those inside of it took
        self._timed: list[tuple[Any, str]] = []

    def clear(self) -> None:
        self.spent = {}

    def on(self, owner: Any, method: str, stage: str) -> None:
        """From now on calls of this method of this object are timed; `off` ends it."""
        bare = getattr(owner, method)

        def timed(*given: Any, **named: Any) -> Any:
            with self._stage(stage):
                return bare(*given, **named)

        setattr(owner, method, timed)
        self._timed.append((owner, method))

    def off(self) -> None:
        for owner, method in self._timed:
            delattr(owner, method)   # the class's own is behind it
        self._timed = []

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.wait()
        begun = time.perf_counter()
        self._within.append(0.0)
        try:
            yield
        finally:
            self.wait()
            took = 1000 * (time.perf_counter() - begun)
            self.spent[name] = self.spent.get(name, 0.0) + took - self._within.pop()
            if self._within:
                self._within[-1] += took


@contextmanager
def stages_of(
    engine: Any, model: Any = None, wait: Callable[[], None] = lambda: None
) -> Iterator[Stages]:
    """An engine's stages: encode, reduce, prefill (of a frame or a question), memory, recall.
    model: the one behind the engine's own, where that is a stand-in."""
    stages, model = Stages(wait), model or engine.model
    for owner, method, stage in (
        (model, "encode", "encode"), (engine.reducer, "reduce", "reduce"),
        (model, "forward", "prefill"), (model, "queries_of", "prefill"),
        (engine.memory, "after_prefill", "memory"), (engine.memory, "before_answer", "recall"),
    ):
        stages.on(owner, method, stage)
    try:
        yield stages
    finally:
        stages.off()
