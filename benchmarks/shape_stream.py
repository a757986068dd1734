"""Streams of pairs for `benchmarks.shape_runs`, without PyAV and OpenCV, which a machine for GPU
runs may lack."""
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.shapes import drain, pictures

FPS = 8.0
DROPPING = "temporal_drop:refresh=0,share="


def watching(model: Any, memory: str, share: float = 1.0) -> Any:
    """An engine that reads this share of each frame's tokens, those least like the frame before."""
    from streamassist import tokens
    from streamassist.config import EngineConfig, make_method
    from streamassist.engine import Engine
    from streamassist.memory import METHODS

    spec = "none" if share == 1 else f"{DROPPING}{share}"
    return Engine(model, make_method("memory", memory, METHODS), EngineConfig(),
                  make_method("tokens", spec, tokens.METHODS))


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
