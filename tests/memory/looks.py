"""Frames of known looks for the banks of visual tokens: rows that point in one of 8 directions."""
from collections.abc import Sequence

import torch

from made_up import DIM, MadeUpModel, pinned_cache
from streamassist.cache import KVCache
from streamassist.memory import METHODS
from streamassist.memory.banks import TokenBank
from streamassist.types import VisualTokens


class Words(MadeUpModel):
    """"dog" means direction 3, every other word direction 7. Counts the frames it reads."""

    read = 0

    def encode_text(self, text: str) -> list[int]:
        return [3 if word == "dog" else 7 for word in text.split()]

    def embed_text(self, ids) -> torch.Tensor:
        return torch.eye(DIM)[list(ids)]

    def forward(self, chunk, cache) -> torch.Tensor:
        self.read += chunk.visual is not None
        return super().forward(chunk, cache)


def frame_of(look: int | torch.Tensor | Sequence[int], frame: int) -> VisualTokens:
    """A 2 x 2 frame: all rows in one direction, or along one vector, or a direction for each."""
    if isinstance(look, torch.Tensor):
        rows = look.expand(4, -1)
    else:
        rows = torch.eye(DIM)[[look] * 4 if isinstance(look, int) else list(look)]
    return VisualTokens(rows.clone(), (1, 2, 2), frame * 0.5, frame)


def see(policy: TokenBank, cache: KVCache, tokens: VisualTokens) -> None:
    policy.observe(tokens, cache)
    policy.model.forward(policy.model.frame_chunk(tokens, cache.next_position), cache)
    policy.after_prefill(cache)


def stream(name: str, looks: Sequence, **settings) -> tuple[TokenBank, KVCache]:
    policy, cache = METHODS[name](**{"frames": 1, **settings}), pinned_cache()
    policy.attach(Words())
    for frame, look in enumerate(looks):
        see(policy, cache, frame_of(look, frame))
    return policy, cache


def chosen(policy: TokenBank, question: str = "dog") -> list[tuple[int, int]]:
    """(frame, rows) of what a question would be answered on."""
    return [(tokens.frame, len(tokens.embeds)) for tokens in policy.chosen(question)]
