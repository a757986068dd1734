"""CacheGen: coarser bins in deeper layers, and an entropy code over them.

arXiv 2310.07240: each token is scaled by its largest number and rounded to 32 bins in early layers
and 16 in later ones. As in the released code and unlike the paper, no differences to an anchor
token. Different from both: a Huffman code where they have an arithmetic one with a table for each
layer and channel, so somewhat larger; and the codec holds a bounded memory, where theirs carries a
cache over a network (our inference).
"""
from dataclasses import dataclass

from torch import Tensor

from streamassist.codec import Packed
from streamassist.entropy import cachegen_keys, cachegen_values
from streamassist.memory.packed import PackedMemory


@dataclass
class CacheGen(PackedMemory):
    def pack_keys(self, keys: Tensor) -> Packed:
        return cachegen_keys(keys)

    def pack_values(self, values: Tensor) -> Packed:
        return cachegen_values(values)
