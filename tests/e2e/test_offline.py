"""Nothing needs a network: nano watches and the page is served where only `lo` exists."""
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from benchmarks.accept import is_right
from e2e.whole import CITY, QUESTION, need_sample
from places import ROOT, absent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LO_UP = 'ip link set lo up && exec "$@"'
WAYS = (["unshare", "--net"], ["unshare", "--net", "--map-root-user"])    # as root; as anyone
RUN_S = 400


@pytest.fixture(scope="module")
def alone() -> Callable[..., str]:
    """alone("-m", "module", ...) runs Python in a network namespace and gives its output."""
    for program, package in (("unshare", "util-linux"), ("ip", "iproute2")):
        if not shutil.which(program):
            absent(f"{program} (apt-get install {package})")
    shells = [[*way, "sh", "-c", LO_UP, "sh"] for way in WAYS]
    tries = [subprocess.run([*s, "true"], capture_output=True, text=True) for s in shells]
    open_ways = [s for s, tried in zip(shells, tries, strict=True) if tried.returncode == 0]
    if not open_ways:
        pytest.skip(f"the kernel allows no network namespace here: {tries[-1].stderr.strip()}")
    return lambda *args: output_of([*open_ways[0], sys.executable, *args])


def output_of(command: list[str]) -> str:
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RUN_S
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_clip_is_replayed(alone: Callable[..., str]) -> None:
    clip = str(need_sample())
    ask = ("--ask", f"3:{QUESTION}")
    lines = alone("-m", "streamassist", "replay", clip, "--model", "nano", *ask).splitlines()
    events = [json.loads(line) for line in lines]
    (answer,) = (event for event in events if event["type"] == "answer")
    assert is_right(answer["text"], [CITY]), answer["text"]
    assert events[-1]["type"] == "stats" and events[-1]["frames_used"] >= 14
    assert not any(event["type"] == "failed" for event in events)


def test_the_page_is_served_and_a_question_answered(alone: Callable[..., str]) -> None:
    need_sample()
    seen = json.loads(alone("-m", "e2e.visit"))
    assert "unreachable" in seen["no way out"], "the namespace has a way to other machines"
    assert seen["model"] == "nano" and len(seen["answer"].split()) > 2, seen
    assert seen["preview"] > 1000 and seen["script"] > 1000, "a picture and the page's script"
