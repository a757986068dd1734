"""Keys and values under an entropy code: bytes of any length for what a fixed number of bits per
number would waste. Tensors (L, H, T, D) in; see `codec` for the rules all codecs keep.
"""
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import zstandard
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Coded:
    """Symbols x scale; the symbols, tokens of a channel side by side, under zstd or Huffman's code.

    `decode` raises ValueError where the data is no such code, or of another size.
    """

    data: bytes
    scale: Tensor   # float16, (L, H, T, D) with ones
    shape: torch.Size
    dtype: torch.dtype
    zstd: bool = False

    @property
    def bytes(self) -> int:
        return len(self.data) + self.scale.nbytes

    def decode(self) -> Tensor:
        layers, heads, tokens, dim = self.shape
        symbols = torch.frombuffer(bytearray(self._unpacked()), dtype=torch.int8)
        symbols = symbols.view(layers, heads, dim, tokens).transpose(-1, -2)
        return (symbols.to(self.scale.device) * self.scale.float()).to(self.dtype)


    def _unpacked(self) -> bytes:
        size = self.shape.numel()
        try:
            if self.zstd:
                if zstandard.frame_content_size(self.data) != size:   # no bomb
                    raise ValueError("the packed symbols are of another size")
                return zstandard.ZstdDecompressor().decompress(self.data)
            return zlib.decompressobj().decompress(self.data, size)
        except (zlib.error, zstandard.ZstdError) as error:
            raise ValueError(str(error)) from error


def _coded(x: Tensor, height: Tensor, most: Tensor | int, zstd: bool = False) -> Coded:
    """Symbols -most .. most, where `height` is the size that gets `most`."""
    scale = (height / most).half()
    symbols = (x.float() / scale.float().clamp(min=1e-8)).round().clamp(min=-127, max=127)
    plain = symbols.to(torch.int8).transpose(-1, -2).contiguous().cpu().numpy().tobytes()
    if zstd:
        data = zstandard.ZstdCompressor(level=1).compress(plain)
    else:
        deflate = zlib.compressobj(level=1, strategy=zlib.Z_HUFFMAN_ONLY)
        data = deflate.compress(plain) + deflate.flush()
    return Coded(data, scale, x.shape, x.dtype, zstd)


def cold(x: Tensor) -> Coded:
    """8 bits per channel and zstd, for pages that are seldom read."""
    return _coded(x, x.float().abs().amax(-2, keepdim=True), 127, zstd=True)


def cachegen_keys(keys: Tensor) -> Coded:
    """CacheGen (arXiv 2310.07240) as its code has it: 32 bins in the first ten layers, then 16."""
    return _binned(keys, [32 if layer < 10 else 16 for layer in range(len(keys))])


def cachegen_values(values: Tensor) -> Coded:
    """32 bins in the first two layers, then 16 (CacheGen)."""
    return _binned(values, [32 if layer < 2 else 16 for layer in range(len(values))])


def _binned(x: Tensor, bins: Sequence[int]) -> Coded:
    """Scaled by each token's largest number over all heads; symbols under a Huffman code.

    Different from the paper: no difference to an anchor token (its code has none either), and
    deflate's Huffman code over a stretch of symbols in place of an arithmetic code with a table
    for each layer and channel.
    """
    most = torch.tensor([b // 2 - 1 for b in bins], device=x.device).view(-1, 1, 1, 1)
    height = x.float().abs().amax((1, 3), keepdim=True)
    return _coded(x, height, most)
