"""`make gpu STAGE=check|bench|train`: what needs a GPU, with the interpreter and torch found here.

No virtual environment, no pip, no network; each stage ends within nine minutes. What cannot run for
want of a module, a GPU or data is printed as "not run", never as passed.
"""
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 530      # of a stage
LEAST_S, ONE_MODEL_S = 20, 60
BENCHES = (        # module, seconds at most, settings; the number behind --seconds is filled in
    ("benchmarks.gpu_kernels", 150),
    ("benchmarks.gpu_bench", 220, "--seconds"),
    ("benchmarks.shape_runs", 300, "--what", "ingest,latency", "--seconds"),
)
MARK = "pytest.mark.gpu"
MARKS = ("gpu", "slow", "browser", "shared")


def not_run(stage: str, why: str) -> int:
    print(f"{stage}: not run ({why})", flush=True)
    return 0


def missing(*modules: str) -> str | None:
    """Why a stage cannot run: a module or the GPU is missing; None when all is there."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            return f"{name} is missing"
    import torch

    return None if torch.cuda.is_available() else "torch finds no CUDA device"


def check() -> int:
    """The tests marked `gpu`, with pytest's bare settings: its plugins may be missing here."""
    files = sorted(f for f in (ROOT / "tests").rglob("test_*.py") if MARK in f.read_text())
    if not files:
        return not_run("check", "no test is marked gpu")
    if why := missing("torch", "pytest", "numpy", "transformers"):
        return not_run("check", why)
    settings = ["-c", os.devnull, f"--rootdir={ROOT}", "--import-mode=importlib", "-m", "gpu"]
    marks = "\n".join(f"{name}: see pyproject.toml" for name in MARKS)
    names = [str(f.relative_to(ROOT)) for f in files]
    code = call("-m", "pytest", *settings, "-o", f"markers={marks}", "-ra", *names)
    return not_run("check", "every gpu test was deselected") if code == 5 else code


def bench() -> int:
    """Each benchmark within its own limit and what is left of the stage's; results go to $OUT, or
    to `results`, as JSON. A part that runs out of time does not cost the others theirs."""
    if why := missing("torch", "numpy", "transformers"):
        return not_run("bench", why)
    codes, end = [], time.monotonic() + LIMIT_S
    for module, limit_s, *settings in BENCHES:
        left = min(limit_s, end - time.monotonic())
        if left < LEAST_S:
            not_run(module, "no time is left")
            continue
        if "--seconds" in settings:   # it begins no model that could not end
            settings.append(str(int(max(0, left - ONE_MODEL_S))))
        codes.append(call("-m", module, *settings, limit_s=left))
    return next((code for code in codes if code), 0)


def train() -> int:
    """nano's training for eight minutes; it goes on from its checkpoint at the next call."""
    folder = os.environ.get("STREAMASSIST_TRAIN_DATA")
    if not folder or not Path(folder).is_dir():
        return not_run("train", "STREAMASSIST_TRAIN_DATA does not name a folder of training data")
    if why := missing("torch", "numpy", "transformers", "safetensors"):
        return not_run("train", why)
    return call("-m", "models.nano.train", "--piece", "8")


def call(*args: str, limit_s: float = LIMIT_S) -> int:
    """Run this interpreter from the repository root; its exit code, 124 when time was up."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1",
    }
    try:
        command = [sys.executable, *args]
        return subprocess.run(command, cwd=ROOT, env=environment, timeout=limit_s).returncode
    except subprocess.TimeoutExpired:
        print(f"{args[1]}: stopped after {limit_s:.0f} s", flush=True)
        return 124


STAGES = {"check": check, "bench": bench, "train": train}


def main() -> int:
    stage = sys.argv[1] if len(sys.argv) > 1 else "check"
    if stage not in STAGES:
        print(f"STAGE={stage} is unknown; choose check, bench or train.", file=sys.stderr)
        return 2
    return STAGES[stage]()


if __name__ == "__main__":
    sys.exit(main())
