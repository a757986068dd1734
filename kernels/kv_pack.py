"""kv_pack: keys and values in 4 or 2 bits, laid out for attention that reads them as they are.

As KIVI (arXiv 2402.02750): a scale and a least number for each channel of `GROUP` tokens of keys,
and for each quarter of a token's channels of values. x: (H, T, D), T a multiple of GROUP, D of 4.
One word holds the codes of the channels j, j + D/4, j + D/2, j + 3D/4 of a token: int16 for 4 bits,
uint8 for 2; so a quarter is read with one shift. step, low: float16.
"""
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.dispatch import use_triton

GROUP, QUARTERS = 32, 4
WORD = {4: torch.int16, 2: torch.uint8}


@dataclass(frozen=True, slots=True)
class PackedKV:
    """codes (H, T, D / 4); step, low: keys (H, T / GROUP, D), values (H, T, 4)."""

    codes: Tensor
    step: Tensor
    low: Tensor
    bits: int

    @property
    def bytes(self) -> int:
        return self.codes.nbytes + self.step.nbytes + self.low.nbytes


def pack_ref(x: Tensor, bits: int, values: bool) -> PackedKV:
    groups = _grouped(x.float(), values)
    low = groups.amin(-1).half()
    step = ((groups.amax(-1) - low.float()) / (2**bits - 1)).clamp_min(1e-7).half()
    coded = (groups - low.float()[..., None]) / step.float()[..., None]
    coded = coded.round().clamp(0, 2**bits - 1).int()   # halves to even
    codes = (coded if values else coded.transpose(-1, -2)).reshape(*x.shape[:2], QUARTERS, -1)
    shifts = torch.arange(QUARTERS, device=x.device)[:, None] * bits
    return PackedKV((codes << shifts).sum(-2).to(WORD[bits]), step, low, bits)


def _grouped(x: Tensor, values: bool) -> Tensor:
    """(..., members of a group): values (H, T, 4, D / 4), keys (H, T / GROUP, D, GROUP)."""
    if values:
        return x.unflatten(-1, (QUARTERS, -1))
    return x.unflatten(1, (-1, GROUP)).transpose(-1, -2)


def unpack(kv: PackedKV, values: bool) -> Tensor:
    """(H, T, D) float32."""
    words = kv.codes.int() & 0xFFFF
    shifts = torch.arange(QUARTERS, device=words.device)[:, None] * kv.bits
    codes = (words[..., None, :] >> shifts & 2**kv.bits - 1).float()   # (H, T, 4, D / 4)
    if values:
        return (codes * kv.step.float()[..., None] + kv.low.float()[..., None]).flatten(-2)
    step, low = (x.float().repeat_interleave(GROUP, 1) for x in (kv.step, kv.low))
    return codes.flatten(-2) * step + low


def pack(x: Tensor, bits: int, values: bool) -> PackedKV:
    if bits not in WORD:
        raise ValueError(f"bits must be 4 or 2, not {bits}")
    if x.shape[1] % GROUP or x.shape[2] % QUARTERS:
        raise ValueError(f"{tuple(x.shape)}: tokens must come in {GROUP}s, channels in fours")
    if not use_triton(x):
        return pack_ref(x, bits, values)
    from kernels.kv_pack_triton import pack_triton

    return pack_triton(x, bits, values)
