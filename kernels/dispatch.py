"""Whether the Triton kernels run: on CUDA tensors, where triton is installed and it is asked for.

They have not run on a GPU yet, so they wait for `STREAMASSIST_TRITON=1`; without it, and on every
other device, the torch references compute.
"""
import os
from functools import cache
from importlib.util import find_spec

from torch import Tensor

SWITCH = "STREAMASSIST_TRITON"


@cache
def installed() -> bool:
    return find_spec("triton") is not None


def use_triton(x: Tensor) -> bool:
    return x.is_cuda and os.environ.get(SWITCH) == "1" and installed()
