"""Engines on tiny models that remember what they were fed, and what a stock model makes of that."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.config import EngineConfig
from streamassist.engine import Engine
from streamassist.memory import METHODS
from streamassist.thinking import Thinking
from streamassist.types import Chunk, Frame, Role
from tests import tiny_models, tiny_nano
from tests.streaming import Reference, placed

KINDS = [*tiny_models.KINDS, "nano"]
MODES = ["follow", "overlap", "gap", "group"]
QUESTION = "what do you see?"


def frames(kind: str, count: int) -> list[Frame]:
    return tiny_nano.frames(count) if kind == "nano" else tiny_models.frames(count)


@dataclass
class Recording:
    """An adapter that remembers its chunks and the logits (V,) that came back."""

    llm: Any
    fed: list[Chunk] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.llm, name)

    def forward(self, chunk: Chunk, cache: KVCache) -> Tensor:
        self.fed.append(chunk)
        self.logits.append(self.llm.forward(chunk, cache))
        return self.logits[-1]


@dataclass
class Setting:
    """A tiny adapter and a stock copy of it."""

    kind: str
    llm: Any
    stock: Any

    @classmethod
    def of(cls, kind: str) -> "Setting":
        if kind == "nano":
            return cls(kind, *tiny_nano.build())
        return cls(kind, tiny_models.adapter(kind), tiny_models.build(kind)[0])

    def engine(
        self, branch: str = "follow", gap: int = 256, thinking: Thinking | None = None
    ) -> Engine:
        config = EngineConfig(branch=branch, gap=gap)
        return Engine(Recording(self.llm), METHODS["full"](), config, thinking=thinking)

    def plain(self, fed: Sequence[Chunk], shown: Sequence[Frame]) -> Tensor:
        """Stock logits (S, V) over all chunks at once, at their positions; a frame sees no row of
        a question or an answer."""
        mask = torch.ones(2 * [sum(len(c.ids) for c in fed)], dtype=torch.bool).tril()
        of = torch.cat([torch.full((len(c.ids),), int(c.role)) for c in fed])
        mask[(of == Role.VISUAL)[:, None] & (of == Role.BRANCH)] = False
        if self.kind != "nano":
            return Reference(self.stock, self.llm).logits(fed, shown, placed(fed), mask)
        embeds = torch.cat([self.llm.inputs(c)["inputs_embeds"][0] for c in fed]).detach()
        with torch.no_grad():
            return self.stock(
                inputs_embeds=embeds[None], position_ids=placed(fed), use_cache=False,
                attention_mask=mask[None, None],
            ).logits[0]


def watched(engine: Engine, shown: Sequence[Frame]) -> Engine:
    for frame in shown:
        engine.observe(frame)
    return engine


def speak(engine: Engine, words: int) -> None:
    """So many words, whatever they are: a stop of a random model is no stop."""
    engine.model.llm.stop_ids = frozenset()
    for _ in range(words):
        engine.step()


def video(cache: KVCache, count: int) -> list[Tensor]:
    """Everything about the first slots of a cache but their ages, which count what was asked."""
    used = cache.in_use()
    facts = (used.position, used.pts, used.role, used.frame, used.base, used.span)
    buffers = (cache.raw, cache.rotated, cache.value)
    return [b[:, :, :count] for b in buffers] + [f[..., :count] for f in facts]


def same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
