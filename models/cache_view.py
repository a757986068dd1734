"""A KVCache seen as a transformers Cache."""
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from streamassist.cache import KVCache


class LayerView(CacheLayerMixin):
    """One layer of a KVCache, as transformers wants to see it."""

    def __init__(self, cache: KVCache, layer: int):
        super().__init__()
        self.cache, self.layer, self.is_initialized = cache, layer, True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """The buffers exist already."""

    def update(self, key_states: Tensor, value_states: Tensor, *_, **__) -> tuple[Tensor, Tensor]:
        """Raw keys (1, H, S, D) -> rotated keys and values (1, H, size + S, D)."""
        key, value = self.cache.update(self.layer, key_states[0], value_states[0])
        return key[None], value[None]

    def get_seq_length(self) -> int:
        return self.cache.size

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.size + query_length, 0

    def get_max_length(self) -> int:
        return -1


def view(cache: KVCache) -> Cache:
    return Cache(layers=[LayerView(cache, i) for i in range(cache.num_layers)])
