"""Files of cold pages: keys and values in 8 bits a number, under zstd."""
from collections.abc import Mapping

import torch
from torch import Tensor

from streamassist.entropy import Coded, cold
from streamassist.pages.files import Codec


def cold_parts(x: Tensor) -> dict[str, Tensor]:
    """`cold` as tensors, for a file."""
    packed = cold(x)
    data = torch.frombuffer(bytearray(packed.data), dtype=torch.uint8)
    return {"data": data, "scale": packed.scale.cpu(), "shape": torch.tensor(packed.shape)}


def from_cold_parts(parts: Mapping[str, Tensor]) -> Tensor:
    """Float32. Raises ValueError or RuntimeError where the parts do not fit each other."""
    data, shape = bytes(parts["data"].numpy()), torch.Size(parts["shape"].tolist())
    return Coded(data, parts["scale"], shape, torch.float32, zstd=True).decode()


COLD: Codec = cold_parts, from_cold_parts
