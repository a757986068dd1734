"""What stands between the encoder and the language model: which tokens of a frame are read."""
from dataclasses import dataclass, field, fields
from typing import ClassVar

import numpy as np

from streamassist.cache import KVCache
from streamassist.config import check_range
from streamassist.types import Chunk, VisualTokens


@dataclass
class TokenReducer:
    """Sees every frame once, in order; keeps all of them (`none`).

    Survivors keep their places in the frame's grid, and so their positions, and their rows of what
    is added in deeper layers. A frame is left out whole, or one token at least is left. State is
    bounded by a frame or two, or by a basis of fixed size.

    edits_cache: it takes slots of frames out of the cache, which not every memory policy bears.
    """

    edits_cache: ClassVar[bool] = False
    news: float = field(default=1.0, init=False)   # share of the newest frame's tokens kept

    def wants(self, image: np.ndarray, pts: float) -> bool:
        """Whether the frame shall be encoded at all; `image` is RGB (H, W, 3) uint8."""
        return True

    def reduce(self, tokens: VisualTokens, image: np.ndarray) -> VisualTokens | None:
        """The frame as the language model shall read it; None: not at all."""
        return tokens

    def after_prefill(self, cache: KVCache, chunk: Chunk) -> None:
        """Once the frame's rows are the newest of the cache. Only what `edits_cache` touches it."""

    def reset(self) -> None:
        """Another stream begins: every field that is no setting is as it was at first."""
        for state in (f for f in fields(self) if not f.init):
            fresh = state.default_factory() if callable(state.default_factory) else state.default
            setattr(self, state.name, fresh)


def check_setting(reducer: TokenReducer, name: str, low: float, high: float) -> None:
    """Raise StreamAssistError, naming the setting, when a reducer's field is out of range."""
    check_range(f"The token setting {name}", getattr(reducer, name), low, high)


def count_of(share: float, total: int) -> int:
    """Tokens that a share of a frame is; one at least."""
    return max(1, min(total, round(share * total)))
