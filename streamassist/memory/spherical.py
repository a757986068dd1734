"""Spherical KV: keys as radius and angle of the pairs that rotary embedding turns.

Known from its summary alone (May 2026), so all of this is our inference: 8 bits for the logarithm
of the radius, 4 for the angle, 6 bits a number; values in 4 bits, in groups of 32 channels of a
token. One tier for all: the paper's choice of bits by rate and distortion is left out.
"""
from dataclasses import dataclass

from torch import Tensor

from streamassist.codec import CHANNELS, Packed, quantise, spherical_keys
from streamassist.memory.packed import PackedMemory


@dataclass
class SphericalKV(PackedMemory):
    def pack_keys(self, keys: Tensor) -> Packed:
        return spherical_keys(keys)

    def pack_values(self, values: Tensor) -> Packed:
        return quantise(values, 16, CHANNELS)
