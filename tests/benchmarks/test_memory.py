"""What the needles score, the table, the verdict, and runs of `benchmarks.memory`."""
import argparse
import json
import xml.etree.ElementTree as xml
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import memory, needle_table
from benchmarks.common import Outcome, Sheet
from benchmarks.looks import Looks
from benchmarks.memory import Job, policies_of, run_jobs, spec_for
from benchmarks.needle_table import credit, estimate, is_now, is_past, lines_of, share
from benchmarks.needles import Material, Photo
from models.fake import FakeLLM
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS

GREY = np.full((8, 8, 3), 90, np.uint8)


# ---------------------------------------------------------------- specs and rows

def test_policies_and_their_budgets():
    assert policies_of("uniform,recall:pages=2,recent=3,last_n") == [
        "last_n", "uniform", "recall:pages=2,recent=3",
    ]
    assert policies_of("all")[0] == "last_n" and set(policies_of("all")) == set(METHODS) - {"full"}
    model = FakeLLM()
    assert spec_for("last_n", 512, model) == "last_n:frames=128"
    assert spec_for("uniform", 512, model) == "uniform:budget=512"
    assert spec_for("last_n:frames=4", 512, model) == "last_n:frames=4"
    assert spec_for("full", 99, model) == "full:max_tokens=99"


def test_a_run_that_was_cut_off_goes_on_and_one_failure_does_not_end_it(tmp_path):
    path, ran = tmp_path / "rows.jsonl", []
    jobs = [Job(name, 40, 0, "key", "code") for name in ("last_n", "uniform", "bad")]

    def run(job: Job) -> dict:
        ran.append(job.policy)
        if job.policy == "bad":
            raise RuntimeError("broke")
        return made_up_row(job, [])

    rows, failed = run_jobs(jobs, path, run, Sheet(True))
    assert len(rows) == 2 and failed == ["bad at 40: RuntimeError: broke"]
    whole = path.read_text()
    path.write_text(whole[:-30])   # the last line was cut off
    assert run_jobs(jobs[:2], path, run, Sheet(True))[0] == rows
    assert ran == ["last_n", "uniform", "bad", "uniform"]
    assert len(run_jobs(jobs[:2], path, run, Sheet(True))[0]) == 2 and len(ran) == 4
    late = run_jobs([*jobs[:1], replace(jobs[1], stream=7)], path, run, Sheet(True), until=0.0)
    assert len(late[0]) == 1 and late[1] == ["uniform at 40, stream 7: no time"] and len(ran) == 4
    run_jobs([replace(jobs[0], code="another")], path, run, Sheet(True))
    assert len(ran) == 5, "a policy that was changed is measured anew"


def made_up_row(job: Job, answers: list[dict]) -> dict:
    cost = {"tokens": 40, "cache_bytes": 10**6, "gpu_bytes": 0, "ram_bytes": 0, "disk_bytes": 0,
            "frame_ms": 2.0}
    return {"job": vars(job), **cost, "answers": answers}


# ---------------------------------------------------------------- scores

def answer(right: bool, age: float = 10.0, thing: str = "a dog") -> dict:
    pair = [0.9, 0.1] if right else [0.1, 0.9]
    return {"thing": thing, "age": age, "pair": pair, "choice": [*pair, 0.0, 0.0],
            "question_ms": 5.0, "answer_tokens": 16, "evidence": [], "denied": [False, False]}


@pytest.mark.parametrize("scores, right", [
    ([3, 1, 2, 0], 1.0), ([1, 3, 0, 0], 0.0), ([1, 1], 0.5), ([2, 2, 2, 2], 0.25), ([1, 2, 2], 0.0),
])
def test_equal_scores_share(scores, right):
    assert share(scores) == right


def test_a_score_is_one_when_right_and_nothing_by_chance():
    assert credit(answer(True)) == 1.0
    assert credit({**answer(True), "choice": [0, 1, 2, 3]}) == pytest.approx((1 - 1 / 3) / 2)
    draw = np.random.default_rng(0)
    guesses = [credit({"pair": draw.random(2).tolist(), "choice": draw.random(4).tolist()})
               for _ in range(4000)]
    assert abs(np.mean(guesses)) < 0.04


def test_the_interval_is_of_needles_not_of_questions():
    few = estimate({(0, t): [float(t % 2)] * 50 for t in range(10)})
    many = estimate({(0, t): [float(t % 2)] for t in range(500)})
    assert few.value == many.value == 0.5
    assert few.high - few.low > 5 * (many.high - many.low)
    assert estimate({}) is None


def made_up_lines(right: dict[str, float], count: int = 300) -> list[needle_table.Line]:
    """Policies right on that share of their questions; a third of the questions is about now."""
    rows = []
    for name, fraction in right.items():
        answers = [answer((i * 7919) % count < fraction * count, (0.0, 10.0, 60.0)[i % 3], f"a {i}")
                   for i in range(count)]
        rows.append(made_up_row(Job(name, 512, 0, "key", "code"), answers))
    return lines_of(rows)


def test_gains_are_paired():
    better, control = made_up_lines({"uniform": 0.7, "last_n": 0.5})
    gain = better.gain(control, is_past)
    assert gain.low > 0 and gain.value == pytest.approx(
        better.score(is_past).value - control.score(is_past).value)
    assert control.gain(control, is_now) == needle_table.Estimate(0.0, 0.0, 0.0)


@pytest.mark.parametrize("right, wrong", [
    ({"last_n": 0.5, "uniform": 0.6, "recall": 0.9}, []),
    ({"last_n": 0.8, "uniform": 0.7, "recall": 0.82}, ["1.5 times"]),
    ({"last_n": 0.5, "uniform": 0.95, "recall": 0.8}, ["below uniform"]),
    ({"last_n": 0.9, "recall": 0.5}, ["present worse", "1.5 times", "below last_n"]),
])
def test_the_verdict_on_ours(right, wrong):
    outcome = needle_table.judge(made_up_lines(right), [], quick=False)
    assert outcome.ok == (not wrong)
    for words, said in zip(wrong, outcome.numbers["wrong"], strict=True):
        assert words in said


def test_a_run_with_a_failure_or_too_few_questions_does_not_hold():
    lines = made_up_lines({"last_n": 0.5, "recall": 0.9})
    assert needle_table.judge(lines, ["bad"], quick=True).ok is False
    few = made_up_lines({"last_n": 0.5, "recall": 0.9}, count=60)
    assert needle_table.judge(few, [], quick=True).ok is True
    assert needle_table.judge(few, [], quick=False).numbers["wrong"] == ["only 60 questions"]


def test_the_table_and_the_plot_have_every_policy(tmp_path):
    rows = [row for line in made_up_lines({"last_n": 0.5, "recall": 0.9}) for row in line.rows]
    args = argparse.Namespace(
        model="nano", streams=2, minutes=20.0, fps=2.0, part="test", seed=0, quick=False,
        docs=tmp_path / "docs",
    )
    outcome = needle_table.report(rows, ["bad at 512: broke"], args, Sheet(True))
    assert isinstance(outcome, Outcome) and json.dumps(outcome.numbers)
    table = (tmp_path / "docs" / "memory.md").read_text().splitlines()
    body = [line.split(" | ") for line in table if line.startswith("| ")]
    assert [row[0] for row in body[2:]] == ["| recall", "| last_n"]
    assert len({len(row) for row in body}) == 1 and "Not measured: bad at 512: broke." in table
    plot = xml.fromstring((tmp_path / "docs" / "memory.svg").read_text())
    words = [e.text for e in plot.iter("{http://www.w3.org/2000/svg}text")]
    assert {"recall (512)", "last_n (512)"} <= set(words)
    assert len(list(plot.iter("{http://www.w3.org/2000/svg}circle"))) == 4


# ---------------------------------------------------------------- the command

def test_the_command_runs_with_the_scripted_model(monkeypatch, tmp_path, capsys):
    photos = [Photo(f"{t}.jpg", frozenset({t}), frozenset({t})) for t in range(1, 30)]
    material = Material({"a": 7.3}, frozenset(), tuple(photos))
    names = {name: [GREY] for name in ("a", *(p.file for p in photos))}
    monkeypatch.setattr(memory, "load_material", lambda folder, part: material)
    monkeypatch.setattr(
        memory, "look_at", lambda model, *_: prepared(Looks(model, names.get, tmp_path), names)
    )
    argv = ["--model", "fake", "--quick", "--json", "--policies", "uniform",
            "--out", str(tmp_path / "rows.jsonl")]
    assert memory.command(argv) == 0
    last = json.loads(capsys.readouterr().out)
    assert last["ok"] and last["numbers"]["asked"] == 5
    assert [p["policy"] for p in last["numbers"]["policies"]] == ["last_n", "uniform"]
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2


def prepared(looks: Looks, sources) -> Looks:
    looks.prepare(sources, lambda s: False)
    return looks


def test_an_unknown_policy_is_told_before_anything_is_measured(capsys):
    with pytest.raises(StreamAssistError, match="unknown"):
        memory.make_method("memory", spec_for("nonsense", 512, FakeLLM()), METHODS)
    assert memory.command(["--model", "fake", "--quick", "--json", "--policies", "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err
