"""Every Triton kernel against its torch reference: by Triton's interpreter, and on a GPU."""
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.kernel_cases import CASES, TOLERANCE, error_of

ROOT = Path(__file__).resolve().parents[2]
ALL = [(name, number) for name, cases in CASES.items() for number in range(len(cases))]


def test_every_kernel_has_cases():
    files = {path.stem.removesuffix("_triton") for path in (ROOT / "kernels").glob("*_triton.py")}
    assert files == set(CASES)


@pytest.fixture(scope="module")
def interpreted() -> dict[tuple[str, int], float]:
    """Errors of all cases. In a process of its own: the variable counts when triton is imported."""
    assert importlib.util.find_spec("triton"), "triton is missing; run `make setup-test`"
    script = ROOT / "tests" / "kernel_cases.py"
    done = subprocess.run(
        [sys.executable, str(script), *CASES], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = map(json.loads, done.stdout.splitlines())
    return {(line["kernel"], line["case"]): line["error"] for line in lines}


@pytest.mark.skipif(sys.platform != "linux", reason="there is no triton but for Linux")
@pytest.mark.parametrize(("name", "number"), ALL)
def test_interpreted_it_agrees_with_its_reference(interpreted, name, number):
    assert interpreted[name, number] < TOLERANCE[CASES[name][number][-1]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu_it_agrees_with_its_reference(name):
    for case in CASES[name]:
        for dtype in (case[-1], torch.bfloat16):
            assert error_of(name, (*case[:-1], dtype), "cuda") < TOLERANCE[dtype], (case, dtype)
