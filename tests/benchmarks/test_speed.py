"""The speed benchmarks: what they compare, and what follows from the times."""
import time

import numpy as np
import pytest

from benchmarks import cost, latency
from benchmarks.common import Sheet
from benchmarks.stages import Stages, stages_of
from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.memory import METHODS
from tests import tiny_nano


@pytest.fixture
def engine() -> Engine:
    model, _ = tiny_nano.build()
    return Engine(model, make_method("memory", "full", METHODS), EngineConfig())


def test_every_way_reads_the_frames_it_says(engine, monkeypatch):
    monkeypatch.setattr(cost, "WINDOW", 6)
    frames = tiny_nano.frames(9)
    actions = cost.ways(engine, frames)
    prompt = len(engine.model.prompt_ids())
    for name, count in (("window sent again", 6), ("window from features", 6), ("last four", 4)):
        cache = actions[name](7)
        assert cache.frames() == list(range(8 - count, 8)) and cache.size == prompt + 16 * count
    again, kept = (actions[n](8) for n in ("window sent again", "window from features"))
    assert np.allclose(again.raw[:, :, : again.size], kept.raw[:, :, : kept.size], atol=1e-4)
    actions["ours"](8)
    assert engine.cache.frames() == [8]


def test_the_window_must_cost_ten_times_as_much():
    ms = {"ours": 10.0, "window sent again": 150.0, "window from features": 90.0, "last four": 30.0}
    assert cost.told(ms, Sheet(True)).ok
    assert not cost.told({**ms, "window sent again": 99.0}, Sheet(True)).ok


def test_latency_must_stay_flat():
    def row(age: float, now: float, past: float, beside: float = 1.0) -> dict:
        return {"age_s": age, "now": now, "past": past, "beside_mb": beside}

    assert latency.judged([row(60, 50, 200), row(3600, 70, 290)]).ok
    nothing_yet = row(10, 50, 50, beside=0.0)   # to look back to
    assert latency.judged([nothing_yet, row(60, 50, 200), row(3600, 50, 200)]).ok
    assert not latency.judged([nothing_yet, row(60, 50, 200), row(3600, 90, 200)]).ok
    done = latency.judged([row(60, 50, 200), row(3600, 50, 301)])
    assert not done.ok and "past 200 ms after 1 minutes, 301 after 60" in done.figure


def test_an_age_is_measured_for_now_and_for_the_past(engine):
    for frame in tiny_nano.frames(5):
        engine.observe(frame)
    size = engine.cache.size
    row = latency.at_age(engine, 2.0, rounds=1)
    assert row["now"] > 0 and row["past"] > 0 and engine.cache.size == size
    assert row["cache_mb"] == engine.cache.bytes / 1e6


def test_the_stages_of_a_frame_are_timed_and_then_no_more(engine):
    with stages_of(engine) as stages:
        for frame in tiny_nano.frames(3):
            engine.observe(frame)
    spent = dict(stages.spent)
    assert set(spent) == {"encode", "reduce", "prefill", "memory"} and min(spent.values()) > 0
    engine.observe(tiny_nano.frames(4)[3])
    assert stages.spent == spent


def test_a_stage_within_another_counts_for_itself_alone():
    class Two:
        def outer(self) -> None:
            time.sleep(0.02)
            self.inner()

        def inner(self) -> None:
            time.sleep(0.05)

    two, stages = Two(), Stages()
    stages.on(two, "outer", "outer")
    stages.on(two, "inner", "inner")
    two.outer()
    stages.off()
    assert 50 <= stages.spent["inner"] and 20 <= stages.spent["outer"] < 50
    assert not vars(two)
