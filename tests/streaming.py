"""Streams for tests: an adapter with its cache, the stock model over the same tokens at once."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.types import Chunk, Frame, Role, VisualTokens
from tests.tiny_models import pixel_inputs


@dataclass
class Stream:
    """An adapter with one cache, and every chunk it was fed with the logits that came back."""

    llm: Any
    cache: KVCache
    fed: list[Chunk] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)

    @classmethod
    def open(cls, llm: Any) -> "Stream":
        stream = cls(llm, llm.new_cache())
        stream.text(llm.prompt_ids(), Role.PROMPT)
        stream.cache.pin()
        return stream

    def feed(self, chunk: Chunk) -> Tensor:
        self.fed.append(chunk)
        self.logits.append(self.llm.forward(chunk, self.cache))
        return self.logits[-1]

    def text(self, ids: Sequence[int], role: Role = Role.BRANCH) -> Tensor:
        return self.feed(self.llm.text_chunk(ids, self.cache.next_position, role, 0.0))

    def show(self, shown: Sequence[Frame]) -> None:
        for frame in shown:
            self.show_tokens(self.llm.encode([frame])[0])

    def show_tokens(self, tokens: VisualTokens) -> Tensor:
        return self.feed(self.llm.frame_chunk(tokens, self.cache.next_position))

    def greedy(self, logits: Tensor, steps: int) -> Tensor:
        for _ in range(steps):
            logits = self.text([int(logits.argmax())])
        return logits


@dataclass
class Reference:
    """The stock model over a list of chunks at once: logits (S, V) of every row."""

    model: Any
    llm: Any

    def run(
        self,
        chunks: Sequence[Chunk],
        shown: Sequence[Frame],
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """positions (A, S) and mask (S, S) bool, both the model's own choice by default."""
        ids = torch.cat([c.ids for c in chunks])[None]
        if self.llm.num_axes == 3:
            kinds = (ids == self.llm.image_id).int()
            options["mm_token_type_ids"] = kinds
        if positions is not None:
            options["position_ids"] = positions if self.llm.num_axes == 1 else positions[:, None]
        if mask is not None:
            options["attention_mask"] = mask[None, None]
        with torch.inference_mode():
            return self.model(input_ids=ids, **pixel_inputs(self.llm, list(shown)), **options)

    def logits(self, *args: Any, **options: Any) -> Tensor:
        return self.run(*args, use_cache=False, **options).logits[0]


def ends(chunks: Sequence[Chunk]) -> list[int]:
    """Index of each chunk's last row."""
    return (torch.tensor([len(c.ids) for c in chunks]).cumsum(0) - 1).tolist()


def placed(chunks: Sequence[Chunk]) -> Tensor:
    return torch.cat([c.positions for c in chunks], 1)


def causal(size: int) -> Tensor:
    return torch.ones(size, size, dtype=torch.bool).tril()


def rows_of(chunks: Sequence[Chunk], which: Sequence[int]) -> Tensor:
    """Row indices of the chunks numbered `which`."""
    owner = torch.cat([torch.full((len(c.ids),), i) for i, c in enumerate(chunks)])
    return torch.isin(owner, torch.tensor(which)).nonzero()[:, 0]


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def assert_same_cache(a: KVCache, b: KVCache) -> None:
    assert (a.size, a.num_pinned, a.next_position) == (b.size, b.num_pinned, b.next_position)
    for name in ("raw", "rotated", "value"):
        ours, theirs = (getattr(c, name)[:, :, : c.size] for c in (a, b))
        assert torch.equal(ours, theirs), name
    for name in ("position", "pts", "role", "frame", "base", "span"):
        assert torch.equal(getattr(a.used(), name), getattr(b.used(), name)), name
