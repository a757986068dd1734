"""KIVI: old keys and values in 2 bits, keys by channel and values by token.

arXiv 2402.02750, section 3: groups of 32, keys in groups of tokens because some of their channels
are always large, values in groups of channels; the newest 128 tokens stay exact. Scales take as
much again as 16 bits for each 16 numbers, so 3 bits a number. Different from the paper: a bounded
store whose oldest page leaves; keys are packed before rotary embedding, and the store is decoded
once for a question instead of inside the product (our inference).
"""
from dataclasses import dataclass

from torch import Tensor

from streamassist.codec import Packed, kivi_keys, kivi_values
from streamassist.memory.packed import PackedMemory


@dataclass
class Kivi(PackedMemory):
    def pack_keys(self, keys: Tensor) -> Packed:
        return kivi_keys(keys)

    def pack_values(self, values: Tensor) -> Packed:
        return kivi_values(values)
