"""Keep everything, up to a limit that protects the machine; then the oldest frames go.

The reference that every other policy is compared with on short streams.
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.cache import KVCache
from streamassist.memory.base import MAX_TOKENS, MemoryPolicy, check_setting, drop_oldest


@dataclass
class Full(MemoryPolicy):
    any_slots: ClassVar[bool] = True
    max_tokens: int = 32768   # about 2.2 GB with nano in float32

    def __post_init__(self) -> None:
        check_setting(self, "max_tokens", 1, MAX_TOKENS)

    def after_prefill(self, cache: KVCache) -> None:
        if len(cache) > self.max_tokens:
            drop_oldest(cache, len(cache) - self.max_tokens)
