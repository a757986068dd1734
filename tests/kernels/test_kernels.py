"""Every Triton kernel against its torch reference: by Triton's interpreter, and on a GPU."""
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kernels import dispatch
from kernels.gather_rotate import gather_rotate_ref
from streamassist.rope import rotate
from tests.kernel_cases import CASES, TOLERANCE, error_of, gather_rotate

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


@pytest.mark.parametrize("cuda, switch, there, runs", [
    (True, "1", True, True), (True, None, True, False), (True, "0", True, False),
    (True, "1", False, False), (False, "1", True, False),
])
def test_triton_runs_where_it_is_asked_for_and_there(monkeypatch, cuda, switch, there, runs):
    monkeypatch.delenv(dispatch.SWITCH, raising=False)
    if switch:
        monkeypatch.setenv(dispatch.SWITCH, switch)
    monkeypatch.setattr(dispatch, "installed", lambda: there)
    assert dispatch.use_triton(SimpleNamespace(is_cuda=cuda)) is runs


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_gather_and_rotate_by_hand(groups):
    """Row by row; a choice that all share may also be an expanded one."""
    _, (raw, index, cos, sin) = gather_rotate("cpu", 6, 9, 4, groups, 8, torch.float32)
    kept, turned = gather_rotate_ref(raw, index, cos, sin)
    for row in range(6):
        group = row * groups // 6
        mine = raw[row, index[group]]
        assert torch.equal(kept[row], mine)
        torch.testing.assert_close(turned[row], rotate(mine, cos[group], sin[group]))
    same = gather_rotate_ref(raw, index[:1].expand(groups, -1), cos, sin)
    apart = gather_rotate_ref(raw, index[:1].repeat(groups, 1), cos, sin)
    assert torch.equal(same[0], apart[0]) and torch.equal(same[1], apart[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu_it_agrees_with_its_reference(name):
    for case in CASES[name]:
        for dtype in (case[-1], torch.bfloat16):
            assert error_of(name, (*case[:-1], dtype), "cuda") < TOLERANCE[dtype], (case, dtype)
