"""VidKV: keys in 1.5 bits and values in 1.58, both by channel.

arXiv 2503.16257: of a layer's key channels, the half with the larger range over tokens takes 2
bits, the other half the sign of its Fourier transform along the channels; values are -1, 0 or 1
times a scale. Groups of 32 tokens, the newest 128 exact. Different from the paper: a real Fourier
transform, without which the 1-bit half costs 2; keys before rotary embedding, a bounded store, and
all tokens alike, no visual token is spared for the question's words (our inference).
"""
from dataclasses import dataclass

from torch import Tensor

from streamassist.codec import Packed, vidkv_keys, vidkv_values
from streamassist.memory.packed import PackedMemory


@dataclass
class VidKV(PackedMemory):
    def pack_keys(self, keys: Tensor) -> Packed:
        return vidkv_keys(keys)

    def pack_values(self, values: Tensor) -> Packed:
        return vidkv_values(values)
