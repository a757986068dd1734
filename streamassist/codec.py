"""Keys and values in few bits: tensors (L, H, T, D) in, packed bytes out, and back.

Every codec returns a small frozen object with `bytes`, its true size, and `decode()`, which gives
the tensor back in its shape and dtype. Keys are to be given raw: rotary embedding mixes channels
whose ranges differ, which is what the codecs for keys live on.
"""
import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.kv_pack import QUARTERS, PackedKV
from kernels.kv_pack import pack as pack_words
from kernels.kv_pack import unpack as unpack_words

TOKENS, CHANNELS = -2, -1              # axes along which a group of numbers may lie
GROUP = 32                             # numbers that share one scale
PER_BYTE = {2: 8, 3: 5, 4: 4, 16: 2}   # digits in base `levels` that one byte holds


class Packed(Protocol):
    @property
    def bytes(self) -> int: ...

    def decode(self) -> Tensor: ...


# ---------------------------------------------------------------- digits in bytes

def pack(digits: Tensor, levels: int) -> Tensor:
    """Digits 0 .. levels - 1 of any shape -> (B,) uint8."""
    flat = digits.flatten().to(torch.uint8)
    flat = F.pad(flat, (0, -len(flat) % PER_BYTE[levels])).view(-1, PER_BYTE[levels])
    return (flat * _weights(levels, flat.device)).sum(-1, dtype=torch.uint8)


def unpack(data: Tensor, levels: int, count: int) -> Tensor:
    """(B,) uint8 -> the first `count` digits (count,) uint8."""
    return (data[:, None] // _weights(levels, data.device) % levels).flatten()[:count]


def _weights(levels: int, device: torch.device) -> Tensor:
    powers = [levels**k for k in range(PER_BYTE[levels])]
    return torch.tensor(powers, dtype=torch.uint8, device=device)


# ---------------------------------------------------------------- groups with a scale

@dataclass(frozen=True, slots=True)
class Grouped:
    """Digit x step + low, one step and low for each group of `group` numbers along `axis`.

    step, low: (..., G) float16, the grouped axis last; low None: the digits lie around zero.
    """

    digits: Tensor   # (B,) uint8, packed
    step: Tensor
    low: Tensor | None
    levels: int
    axis: int
    group: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return self.digits.nbytes + self.step.nbytes + (0 if self.low is None else self.low.nbytes)

    def decode(self) -> Tensor:
        count = self.shape[self.axis]
        rows = unpack(self.digits, self.levels, self.shape.numel())
        rows = rows.view(*self.step.shape[:-1], count).float()
        low = -self.step * ((self.levels - 1) / 2) if self.low is None else self.low
        rows = rows * _spread(self.step, self.group, count) + _spread(low, self.group, count)
        return rows.movedim(-1, self.axis).to(self.dtype)


def quantise(x: Tensor, levels: int, axis: int, group: int = GROUP) -> Grouped:
    """Asymmetric: each group spans its own minimum to its maximum."""
    groups, rows, size = _groups(x, axis, group)
    low = groups.amin(-1).half()
    step = ((groups.amax(-1) - low.float()) / (levels - 1)).half()
    count = rows.shape[-1]
    digits = (rows - _spread(low, size, count)) / _spread(step, size, count).clamp(min=1e-8)
    digits = digits.round().clamp(0, levels - 1)
    return Grouped(pack(digits, levels), step, low, levels, axis, size, x.shape, x.dtype)


def signs(x: Tensor, axis: int = TOKENS, group: int = GROUP) -> Grouped:
    """One bit: the sign, times the mean size of the group."""
    groups, rows, size = _groups(x, axis, group)
    step = (2 * groups.abs().mean(-1)).half()
    return Grouped(pack(rows >= 0, 2), step, None, 2, axis, size, x.shape, x.dtype)


def trits(x: Tensor, axis: int = TOKENS, group: int = GROUP) -> Grouped:
    """Five digits of -1, 0, 1 to a byte: 0 below half the group's mean size.

    The step is the mean size of those that are not 0, which loses least (our inference).
    """
    groups, rows, size = _groups(x, axis, group)
    height, count = groups.abs(), rows.shape[-1]
    least = 0.5 * height.mean(-1, keepdim=True)
    large = height > least
    step = ((height * large).sum(-1) / large.sum(-1).clamp(min=1)).half()
    least = _spread(least[..., 0], size, count)
    digits = 1 + (rows > least).int() - (rows < -least).int()
    return Grouped(pack(digits, 3), step, None, 3, axis, size, x.shape, x.dtype)


def _groups(x: Tensor, axis: int, group: int) -> tuple[Tensor, Tensor, int]:
    """(..., G, size) groups along `axis`, the rows (..., n) they are cut from, and their size.

    Groups are as even as can be and at most `group` long; a short last one repeats its last entry.
    """
    rows = x.float().movedim(axis, -1)
    count = rows.shape[-1]
    size = math.ceil(count / math.ceil(count / group))
    short = rows[..., -1:].expand(*rows.shape[:-1], -count % size)
    return torch.cat((rows, short), -1).unflatten(-1, (-1, size)), rows, size


def _spread(facts: Tensor, size: int, count: int) -> Tensor:
    """(..., G) of groups -> (..., count) float32 of their members."""
    return facts.float().repeat_interleave(size, -1)[..., :count]


# ---------------------------------------------------------------- KIVI, VidKV

@dataclass(frozen=True, slots=True)
class Words:
    """A page of whole groups as `kernels.kv_pack` has it; numbers and bytes as of `quantise`."""

    kv: PackedKV     # of the heads of all layers
    values: bool
    shape: torch.Size
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return self.kv.bytes

    def decode(self) -> Tensor:
        return unpack_words(self.kv, self.values).view(self.shape).to(self.dtype)


def _words(x: Tensor, values: bool) -> Words:
    return Words(pack_words(x.flatten(0, 1), 2, values), values, x.shape, x.dtype)


def kivi_keys(keys: Tensor) -> Packed:
    """2 bits, per channel over groups of tokens (KIVI, arXiv 2402.02750, section 3.2)."""
    if keys.shape[TOKENS] % GROUP or keys.shape[CHANNELS] % QUARTERS:
        return quantise(keys, 4, TOKENS)
    return _words(keys, values=False)


def kivi_values(values: Tensor) -> Packed:
    """2 bits, per token over groups of channels (KIVI, section 3.2)."""
    if values.shape[TOKENS] % GROUP or values.shape[CHANNELS] != QUARTERS * GROUP:
        return quantise(values, 4, CHANNELS)
    return _words(values, values=True)


@dataclass(frozen=True, slots=True)
class MixedKeys:
    """VidKV's keys: half of a layer's channels in 2 bits, half as signs of their spectrum."""

    wide: Grouped     # (L, T, C) channels of the larger range
    narrow: Grouped   # (L, T, C') spectrum of the others
    which: Tensor     # (B,) uint8, one bit a channel: is it wide?
    shape: torch.Size
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return self.wide.bytes + self.narrow.bytes + self.which.nbytes

    def decode(self) -> Tensor:
        layers, heads, tokens, dim = self.shape
        which = unpack(self.which, 2, layers * heads * dim).view(layers, 1, -1).bool()
        spectrum = self.narrow.decode()
        count = spectrum.shape[-1]
        imag = F.pad(spectrum[..., count // 2 + 1 :], (1, 1 - count % 2))
        calm = torch.fft.irfft(
            torch.complex(spectrum[..., : count // 2 + 1], imag), n=count, norm="ortho"
        )
        flat = calm.new_empty(layers, tokens, heads * dim)
        which = which.expand_as(flat)
        flat[which], flat[~which] = self.wide.decode().flatten(), calm.flatten()
        return flat.unflatten(-1, (heads, dim)).transpose(1, 2).to(self.dtype)


def vidkv_keys(keys: Tensor) -> MixedKeys:
    """1.5 bits on average (VidKV, arXiv 2503.16257): channels ranked by their range over tokens,
    all heads of a layer together. A real Fourier transform, which needs one number a channel where
    the complex one of the paper's code needs two."""
    layers, heads, _, dim = keys.shape
    flat = keys.float().transpose(1, 2).flatten(2)   # (L, T, H * D)
    ranges = flat.amax(1) - flat.amin(1)
    which = torch.zeros_like(ranges, dtype=torch.bool)
    which.scatter_(1, ranges.topk(heads * dim // 2, dim=1).indices, True)
    mask = which[:, None].expand_as(flat)
    wide, calm = (flat[m].view(layers, flat.shape[1], -1) for m in (mask, ~mask))
    waves = torch.fft.rfft(calm, norm="ortho")
    spectrum = torch.cat((waves.real, waves.imag[..., 1 : (calm.shape[-1] + 1) // 2]), -1)
    return MixedKeys(
        quantise(wide, 4, TOKENS), signs(spectrum), pack(which, 2), keys.shape, keys.dtype
    )


def vidkv_values(values: Tensor) -> Grouped:
    """1.58 bits, per channel over groups of tokens (VidKV)."""
    return trits(values)


# ---------------------------------------------------------------- spherical

OCTAVES = 16   # radii below the largest / 2**OCTAVES are told apart no more


@dataclass(frozen=True, slots=True)
class Spherical:
    """Channels i and i + D/2, which rotary embedding turns together, as radius and angle."""

    radius: Tensor   # (L, H, T, D/2) uint8, steps of the logarithm
    angle: Tensor    # (B,) uint8, sixteenths of a turn, packed
    low: Tensor      # (L, H, 1, 1) float32, log2 of the smallest radius
    step: Tensor     # (L, H, 1, 1) float32
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return self.radius.nbytes + self.angle.nbytes + self.low.nbytes + self.step.nbytes

    def decode(self) -> Tensor:
        radius = torch.exp2(self.radius * self.step + self.low)
        angle = unpack(self.angle, 16, radius.numel()).view_as(radius) * (math.pi / 8)
        return torch.cat((radius * angle.cos(), radius * angle.sin()), -1).to(self.dtype)


def spherical_keys(keys: Tensor) -> Spherical:
    """8 bits of log radius and 4 bits of angle for two channels: 6 bits a number. Only the summary
    of Spherical KV is public: pairs, bits and scale (one a head) are our inference."""
    one, other = keys.float().chunk(2, -1)
    radius = torch.hypot(one, other).clamp(min=1e-20)
    least = radius.amax((-1, -2), keepdim=True) / 2**OCTAVES
    height = radius.maximum(least).log2()
    low = height.amin((-1, -2), keepdim=True)
    step = (height.amax((-1, -2), keepdim=True) - low) / 255
    digits = ((height - low) / step.clamp(min=1e-12)).round().to(torch.uint8)
    sector = (torch.atan2(other, one) * (8 / math.pi)).round().remainder(16)
    return Spherical(digits, pack(sector, 16), low, step, keys.dtype)
