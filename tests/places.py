"""Where the repository and the shared data lie, and what to do when something is not there."""
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def absent(what: str) -> None:
    """Skip the test; fail it where everything has to be there (CI=true)."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{what} is missing, and CI=true")
    pytest.skip(f"{what} is missing")
