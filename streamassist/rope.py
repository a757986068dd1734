"""Rotary position embedding with explicit positions on one or three axes (RoPE, arXiv 2104.09864;
M-RoPE, arXiv 2409.12191).

Angles are made in float64 and keys are always rotated from their raw (unrotated) form, so that
moving a key any number of times costs no accuracy.
"""
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rope:
    """inv_freq: (D/2,) float64; axis: (D/2,) int64, the row of `positions` each frequency reads."""

    inv_freq: Tensor
    axis: Tensor

    @classmethod
    def one_axis(cls, head_dim: int, theta: float) -> "Rope":
        inv_freq = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        return cls(inv_freq, torch.zeros(head_dim // 2, dtype=torch.int64))

    @classmethod
    def mrope(
        cls, head_dim: int, theta: float, section: list[int], interleaved: bool = False
    ) -> "Rope":
        """Sections of the frequencies for time, height, width.

        In blocks (Qwen2.5-VL), or interleaved thwthw... with the rest left to time (Qwen3-VL).
        """
        base = cls.one_axis(head_dim, theta)
        axis = torch.repeat_interleave(torch.arange(3), torch.tensor(section))
        if interleaved:
            axis = torch.zeros(head_dim // 2, dtype=torch.int64)
            for dim in (1, 2):
                axis[dim : section[dim] * 3 : 3] = dim
        return cls(base.inv_freq, axis)

    def to(self, device: torch.device) -> "Rope":
        return Rope(self.inv_freq.to(device), self.axis.to(device))

    def cos_sin(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """positions (A, S) -> cos, sin, each (S, D) float32, the two halves alike."""
        angles = positions.to(torch.float64)[self.axis].T * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (..., S, D), cos and sin (S, D) -> rotated x in x's dtype; the sum is made in float32."""
    half = x.shape[-1] // 2
    x32 = x.float()
    swapped = torch.cat((-x32[..., half:], x32[..., :half]), dim=-1)
    return (x32 * cos + swapped * sin).to(x.dtype)
