"""Shapes of published models: they are the real ones, and what is measured of them adds up."""
import argparse
import json

import pytest

from benchmarks import ingest, shape_runs, shape_stream, shapes
from benchmarks.common import Outcome, Sheet
from benchmarks.shape_stream import watching
from tests.tiny_models import adapter

PUBLISHED = {   # parameters in 10**9
    "Qwen2.5-VL-7B": 8.29, "Qwen2.5-VL-3B": 3.75, "Qwen3-VL-8B": 8.77, "Qwen3-VL-4B": 4.44,
    "Qwen3-VL-2B": 2.13,
}
NO_GPU = "no CUDA device"


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_a_shape_has_as_many_weights_as_its_model(name):
    llm = shapes.build(name, "meta")
    assert sum(p.numel() for p in llm.model.parameters()) / 1e9 == pytest.approx(
        PUBLISHED[name], rel=0.005
    )
    assert llm.tokens_per_frame == (256 if "2.5" in name else 196)


def test_the_floor_counts_what_was_estimated_and_shrinks_with_the_tokens():
    for counted, estimated in zip(shapes.counted_tflop("Qwen2.5-VL-7B"),
                                  shapes.ESTIMATED["Qwen2.5-VL-7B"], strict=True):
        assert counted == pytest.approx(estimated, rel=0.1)
    whole, part = (shapes.floor_ms("Qwen2.5-VL-7B", 500.0, share) for share in (1.0, 0.4))
    assert whole == pytest.approx({"encode": 1.3, "prefill": 3.6})
    assert part == pytest.approx({"encode": 1.3, "prefill": 1.44})


def test_the_rate_of_a_matrix_product_is_measured(monkeypatch):
    monkeypatch.setattr(shapes, "median_ms", lambda action, repeats: action().shape[0] / 64)
    assert shapes.matmul_tflops(64) == pytest.approx(2 * 64**3 / 1e9)


# ---------------------------------------------------------------- measuring, on a tiny model

@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(shapes, "SIDE", 112)
    monkeypatch.setattr(shape_runs, "WARM", 2)
    monkeypatch.setattr(shape_runs, "matmul_tflops", lambda size: 100.0)
    return adapter("qwen2_5_vl")


def test_ingest_puts_floor_figure_and_rest_side_by_side(small):
    done = shape_runs.ingest(small, "Qwen2.5-VL-7B", "last_n:frames=2", quick=True)
    every, part = done["numbers"]["rows"]
    assert every["floor_ms"] == pytest.approx({"encode": 6.5, "prefill": 18.0})
    assert part["floor_ms"]["prefill"] == pytest.approx(7.2)
    for row in (every, part):
        assert set(row["ms"]) == {"encode", "reduce", "prefill", "memory"}
        for stage in ("encode", "prefill"):
            assert row["left_ms"][stage] == row["ms"][stage] - row["floor_ms"][stage]
        assert row["fps"] > 0 and row["ahead_fps"] > 0
    assert done["ok"] == (every["ahead_fps"] >= 120 and part["ahead_fps"] >= 200)


def test_sixty_percent_are_dropped_after_the_first_pair(small):
    engine = watching(small, "last_n:frames=9", 0.4)
    one, two = shape_stream.pairs(2)
    engine.observe(one)
    start = engine.cache.size
    engine.observe(two)
    assert engine.cache.size - start == round(0.4 * 16) + 2   # and the words around


@pytest.mark.parametrize(("name", "ok"), [("Qwen2.5-VL-7B", False), ("Qwen3-VL-2B", True)])
def test_the_goals_of_a_gpu_are_asked_of_one_shape(small, monkeypatch, name, ok):
    monkeypatch.setattr(shape_runs, "ahead_fps", lambda *_: 150.0)
    assert shape_runs.ingest(small, name, "last_n:frames=2", quick=True)["ok"] is ok
    monkeypatch.setattr(shape_runs, "total", lambda stages: 40.0)
    assert shape_runs.latency(small, name, "last_n:frames=4", quick=True)["ok"] is ok


def test_latency_tells_the_stages_at_each_age(small):
    done = shape_runs.latency(small, "Qwen2.5-VL-7B", "last_n:frames=4", quick=True)
    rows = done["numbers"]["rows"]
    assert [row["age_s"] for row in rows] == [3.0, 180.0, 1440.0]
    assert all(set(row[kind]) == {"recall", "prefill"} for row in rows for kind in ("now", "past"))
    assert rows[0]["cache_tokens"] < rows[1]["cache_tokens"] == rows[2]["cache_tokens"]


def test_cost_compares_with_the_window_sent_again(small):
    done = shape_runs.cost(small, "Qwen2.5-VL-7B", "last_n:frames=8", quick=True)
    ms = done["numbers"]["ms"]
    assert ms["window sent again"] > ms["window from features"] > 0 and ms["last four"] > 0


# ---------------------------------------------------------------- what did not run

def test_without_a_gpu_a_shape_is_not_run(monkeypatch, capsys):
    monkeypatch.setattr(shape_runs, "unable", lambda *_: NO_GPU)
    assert ingest.command(["--model", "Qwen2.5-VL-7B", "--json"]) == 0
    last = json.loads(capsys.readouterr().out)
    assert last["ok"] and last["figure"] == "Qwen2.5-VL-7B: not run (no CUDA device)"


@pytest.mark.parametrize("ok", [True, False])
def test_what_ran_beside_it_is_judged(monkeypatch, ok):
    monkeypatch.setattr(shape_runs, "unable", lambda *_: NO_GPU)
    real = lambda args, sheet: Outcome(f"{args.model} ran", {"fps": 1}, ok)   # noqa: E731
    args = argparse.Namespace(model="nano,Qwen3-VL-8B", memory="recall", quick=True)
    done = shape_runs.with_shapes("ingest", real)(args, Sheet(True))
    assert done.ok is ok and done.numbers == {"nano": {"fps": 1}, "Qwen3-VL-8B": {}}
    assert done.figure == "nano: nano ran; Qwen3-VL-8B: not run (no CUDA device)"
    alone = argparse.Namespace(model="nano")
    assert shape_runs.with_shapes("ingest", real)(alone, Sheet(True)).figure == "nano ran"


def test_a_shape_that_breaks_is_failed_and_told(monkeypatch, tmp_path):
    monkeypatch.setattr(shape_runs, "unable", lambda *_: None)
    monkeypatch.setattr(shape_runs, "build", lambda name: 1 / 0)
    broken = shape_runs.run_shape("Qwen3-VL-2B", ["ingest"])
    assert broken["status"] == "failed" and "ZeroDivision" in broken["why"] and not broken["ok"]
    monkeypatch.setenv("OUT", str(tmp_path))
    fine = {"model": "A", "status": "ran", "ok": True, "ingest": {"ok": True}, "cost": {}}
    path = shape_runs.save("ingest", [broken, fine], {"device": "none"})
    assert path.parent == tmp_path and json.loads(path.read_text())["rows"] == [
        broken, {"model": "A", "status": "ran", "ok": True, "ingest": {"ok": True}},
    ]


def test_the_command_measures_model_after_model_until_its_time_is_up(
    small, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(shape_runs, "unable", lambda *_: None)
    monkeypatch.setattr(shape_runs, "build", lambda name: small)
    monkeypatch.setattr(shape_runs, "header", lambda: {"device": "tiny"})
    monkeypatch.setenv("OUT", str(tmp_path))
    argv = ["x", "--what", "cost", "--memory", "last_n:frames=4", "--quick",
            "--model", "Qwen2.5-VL-7B,Qwen3-VL-2B", "--seconds"]
    monkeypatch.setattr("sys.argv", [*argv, "300"])
    shape_runs.main()
    assert "2 of 2 shapes ran" in capsys.readouterr().out
    saved = json.loads((tmp_path / "shapes_cost.json").read_text())
    assert saved["device"] == "tiny" and len(saved["rows"]) == 2
    assert all("ms" in row["cost"]["numbers"] for row in saved["rows"])
    monkeypatch.setattr("sys.argv", [*argv, "-1"])
    assert shape_runs.main() == 0 and "out of time" in capsys.readouterr().out
