"""InfLLM: blocks of the past, found by their most attended tokens and read at one distance."""
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import check_setting
from streamassist.memory.retrieval import Retrieval
from streamassist.positions import Terms
from streamassist.scoring import attention_mass
from streamassist.slots import Block


@dataclass
class InfLLM(Retrieval):
    """InfLLM, arXiv 2402.04617, section 3: what leaves the window is stored in blocks; in each
    layer a block is represented by the 4 tokens that got most attention while in the window, and
    found by the dot product of the mean query with the mean of their keys. Prompt and recalled
    tokens all stand at one position, right before the window (the paper: at its length from any
    query). The paper recalls 16 blocks of 128 tokens, for every block it prefills.

    Our inference: blocks hold whole frames and are recalled for a question only; attention is
    what the queries of each new frame give, its own included; a full store forgets the block most
    like the next one, where the paper keeps all.
    """

    frame_queries: ClassVar[bool] = True
    page: int = 32
    positions: str = "single_angle"
    representatives: int = 4
    _mass: dict[int, Tensor] = field(init=False, repr=False)   # frame -> (L, N) attention it got

    def __post_init__(self) -> None:
        check_setting(self, "representatives", 1, 1000)
        super().__post_init__()

    def reset(self) -> None:
        super().reset()
        self._mass = {}

    def after_prefill(self, cache: KVCache) -> None:
        if len(cache):
            self._listen(cache)
        super().after_prefill(cache)

    def _listen(self, cache: KVCache) -> None:
        """Add the attention that the newest frame gives."""
        used = cache.used()
        mass = attention_mass(cache, self.queries, int(used.base[-1])).mean(1).cpu()
        frame, before = used.frame[cache.num_pinned :], self._mass
        parts = {f: mass[:, frame == f] for f in cache.frames()}
        self._mass = {f: part + before[f] if f in before else part for f, part in parts.items()}

    def describe(self, block: Block) -> Tensor:
        frames = block.slots.frame.unique().tolist()
        mass = torch.cat([self._mass.pop(frame) for frame in frames], 1)
        best = mass.topk(min(self.representatives, mass.shape[1])).indices
        raw = block.raw.float().cpu()
        rows = best[:, None, :, None].expand(-1, raw.shape[1], -1, raw.shape[3])
        return raw.gather(2, rows).mean(2)

    def terms(self, newest: int) -> Terms:
        return replace(super().terms(newest), together=True)
