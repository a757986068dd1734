"""What is on this machine, what will be used, what is missing and how to mend it.

`python -m streamassist doctor`; the exit code is 1 when the assistant cannot run as it stands.
"""
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streamassist.errors import StreamAssistError
from streamassist.paths import ROOT, cache_dir

FREE_GB = 1.0
FLASH_ATTN = "pip install --no-build-isolation flash-attn==2.8.3.post2 (needs CUDA's nvcc)"


@dataclass(frozen=True, slots=True)
class Finding:
    """`state`: "ok", "note" (something optional is absent) or "missing" (the app needs it)."""

    state: str
    part: str
    text: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"\n{'':26}-> {self.mend}" if self.mend else ""
        return f"{self.state:8}{self.part:18}{self.text}{mend}"


def run() -> list[Finding]:
    """All findings, in the order they are best read. Loads torch, but no model."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        python, packages, torch_and_device, extras, model_files, checkpoints, sample, cameras,
        sound, browser, disk,
    )
    return [finding for check in checks for finding in check()]


def main() -> int:
    findings = run()
    for finding in findings:
        print(finding)
    broken = sum(finding.state == "missing" for finding in findings)
    print(f"\n{broken} thing(s) to mend." if broken else "\nReady: `make run`.")
    return 1 if broken else 0


# ---------------------------------------------------------------- software

def python() -> Iterator[Finding]:
    version = platform.python_version()
    if sys.version_info[:2] == (3, 11):
        yield Finding("ok", "python", f"{version}, {sys.executable}")
    else:
        mend = "make setup makes a .venv with Python 3.11"
        yield Finding("note", "python", f"{version}; tested with 3.11 only", mend)


def pinned(file: str) -> dict[str, str]:
    """Package -> version, as a requirements file of ours pins them."""
    lines = (ROOT / file).read_text().splitlines()
    pins = (line.split(";")[0].strip().split("==") for line in lines if "==" in line)
    return {name: version for name, version in pins}


def packages() -> Iterator[Finding]:
    """The base packages against their pins."""
    wanted = pinned("requirements.txt")
    absent = [name for name in wanted if version_of(name) is None]
    other = [
        f"{name} {version_of(name)} (pinned {pin})" for name, pin in wanted.items()
        if name not in absent and version_of(name) != pin
    ]
    if absent:
        yield Finding("missing", "packages", f"not installed: {', '.join(absent)}", "make setup")
    if other:
        yield Finding("note", "packages", f"other versions: {', '.join(other)}", "make setup")
    if not absent and not other:
        yield Finding("ok", "packages", f"{len(wanted)} pinned packages, all as pinned")


def version_of(package: str) -> str | None:
    """The installed version without its build tag (2.13.0+cpu -> 2.13.0), None when absent."""
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_and_device() -> Iterator[Finding]:
    """The device, and the number type it computes fast in."""
    try:
        import torch

        from streamassist.hardware import fast_dtype
    except (ImportError, OSError) as error:
        return (yield Finding("missing", "torch", f"cannot be imported ({error})", "make setup"))
    yield Finding("ok", "torch", torch.__version__)
    if torch.cuda.is_available():
        free, total = (size / 1e9 for size in torch.cuda.mem_get_info())
        name, dtype = torch.cuda.get_device_name(), fast_dtype("cuda")
        text = f"{name}, {free:.0f} of {total:.0f} GB free, {dtype}: used"
        return (yield Finding("ok", "device", text))
    yield Finding(
        "ok", "device",
        f"CPU: {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"{fast_dtype()}: used",
    )
    if shutil.which("nvidia-smi"):
        mend = "pip install --force-reinstall torch (its CUDA build), check the driver"
        yield Finding("note", "gpu", "an NVIDIA driver is here, but torch cannot use it", mend)


def extras() -> Iterator[Finding]:
    """Optional packages for GPUs."""
    for name, mend in (
        ("bitsandbytes", "pip install -r requirements-gpu.txt"),
        ("triton", "pip install -r requirements-gpu.txt"),
        ("flash-attn", FLASH_ATTN),
    ):
        version = version_of(name)
        if version:
            yield Finding("ok", name, version)
        else:
            yield Finding("note", name, "absent; only of use with an NVIDIA GPU", mend)


# ---------------------------------------------------------------- models and clip

def model_files() -> Iterator[Finding]:
    """nano's three parts, each with its hash checked."""
    try:
        from models.nano import adapter, weights
    except (ImportError, OSError) as error:
        return (yield Finding("missing", "nano", f"cannot be imported ({error})", "make setup"))
    for part, check in (
        ("nano: text model", weights.TEXT_MODEL.locate),
        ("nano: backbone", weights.BACKBONE.locate),
        ("nano: own weights", adapter.load_own_weights),
    ):
        try:
            check()
            yield Finding("ok", part, "there, SHA-256 as recorded")
        except StreamAssistError as error:
            yield Finding("missing", part, str(error))
    yield Finding(
        "ok", "nano: licence",
        "trained on pictures given out for research; see models/nano/WEIGHTS-LICENSE.md",
    )


def checkpoints() -> Iterator[Finding]:
    """Larger models that are on this machine, and what `--model auto` makes of it."""
    try:
        import torch

        import models
    except (ImportError, OSError):
        return     # said by `model_files`
    known = [c.hub_id for family in models.FAMILIES.values() for c in family]
    here = [hub_id for hub_id in known if models.cached(hub_id)]
    text = f"on this machine: {', '.join(here)}" if here else "none on this machine"
    yield Finding("ok" if here else "note", "larger models", text)
    gpu = bool(here) and torch.cuda.is_available()
    choice = "the first of these that fits the GPU" if gpu else "nano"
    yield Finding("ok", "--model auto", f"takes {choice}")


def sample() -> Iterator[Finding]:
    from streamassist.sample import sample_clip

    try:
        yield Finding("ok", "sample clip", f"{sample_clip()}, SHA-256 as recorded")
    except StreamAssistError as error:
        yield Finding("note", "sample clip", str(error))


# ---------------------------------------------------------------- machine

def cameras() -> Iterator[Finding]:
    devices = sorted(str(path) for path in Path("/dev").glob("video*"))
    if devices:
        return (yield Finding("ok", "cameras", ", ".join(devices)))
    yield Finding("note", "cameras", "none on this machine; the browser's camera can be used")


def sound() -> Iterator[Finding]:
    """PortAudio, which sounddevice loads when it is imported."""
    try:
        import sounddevice

        yield Finding("ok", "local sound", sounddevice.get_portaudio_version()[1])
    except (ImportError, OSError):
        text = "PortAudio is absent; only local microphones and loudspeakers need it"
        yield Finding("note", "local sound", text, "apt install libportaudio2")


def browser() -> Iterator[Finding]:
    path = shutil.which("chromium")
    if path and importlib.util.find_spec("playwright"):
        return (yield Finding("ok", "browser tests", path))
    yield Finding("note", "browser tests", "Chromium or playwright is absent", "make test")


def disk() -> Iterator[Finding]:
    folder = next(p for p in (cache_dir(), *cache_dir().parents) if p.exists())
    free = shutil.disk_usage(folder).free / 1e9
    if free < FREE_GB:
        text = f"only {free:.1f} GB free in {folder}"
        return (yield Finding("missing", "disk", text, f"free at least {FREE_GB:g} GB"))
    yield Finding("ok", "disk", f"{free:.0f} GB free in {folder}")
