"""What tests share: the environment, made-up clips, the shared data, a clock moved by hand."""
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")    # before torch is imported anywhere
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parent
for folder in (TESTS.parent, TESTS):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from places import SHARED, absent
from streamassist.clock import ManualClock


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n 2` the memory tests run beside all others, which keep to one process: they measure
    times, and share servers and loaded models."""
    for item in items:
        if "memory" not in item.path.parts:
            item.add_marker(pytest.mark.xdist_group("one"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder `../shared/data`."""
    if not (SHARED / "data").is_dir():
        absent("../shared/data")
    return SHARED / "data"


@pytest.fixture(scope="session")
def clip(shared_data: Path) -> Callable[[str], Path]:
    """clip("city_night") -> the path of that evaluation clip."""

    def find(name: str) -> Path:
        path = shared_data / "videos" / f"{name}.mp4"
        if not path.is_file():
            absent(f"../shared/data/videos/{name}.mp4")
        return path

    return find


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tiny_video(tmp_path: Path) -> Path:
    """2 s of 160 x 96 pixels at 10 frames a second; see samples.frame_of."""
    from samples import make_video  # needs av, which the machine of `make gpu` may lack

    return make_video(tmp_path / "tiny.mp4")


@pytest.fixture
def bright() -> np.ndarray:
    """A bright picture, (48, 64, 3)."""
    return np.full((48, 64, 3), 240, np.uint8)


@pytest.fixture
def nan_empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`torch.empty` full of NaN, so that an output a kernel forgot to write shows."""
    import torch

    def filled(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def empty(*args, **kwargs) -> torch.Tensor:
            tensor = make(*args, **kwargs)
            return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

        return empty

    for name in ("empty", "empty_like", "empty_strided"):
        monkeypatch.setattr(torch, name, filled(getattr(torch, name)))
    yield
