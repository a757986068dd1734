"""What benchmarks share, and a short run of each with the scripted model."""
import json
import shutil
from pathlib import Path

import pytest

from benchmarks import common, qa, realtime, soak
from benchmarks.common import Clip, Outcome, load_clips, parser_of, part_of
from samples import make_video
from streamassist.errors import StreamAssistError


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two annotated clips: grey pictures that grow bright, red in a corner; and a joined stream."""
    facts = {"duration_s": 6.0, "qa": [
        {"type": "present", "t_ask": 1.0, "question": "What is there?", "accept": [["picture"]]},
        {"type": "past", "t_ask": 2.0, "question": "What was there?", "accept": [["elephant"]]},
        {"type": "alert", "t_ask": 0.0, "question": "Tell me when the picture is bright.",
         "t_event": 1.0, "tolerance_s": 5.0, "accept": [["bright"]]},
        {"type": "never", "t_ask": 0.0, "question": "Tell me when a dog appears.", "accept": []},
    ]}
    make_video(tmp_path / "growing.mp4", num_frames=42, fps=7)
    (tmp_path / "growing.json").write_text(json.dumps(facts))
    scenes = [{"start": 0, "end": 2, "clip": "a"}, {"start": 2, "end": 4, "clip": "b"}]
    shutil.copy(tmp_path / "growing.mp4", tmp_path / "joined.mp4")
    (tmp_path / "joined.json").write_text(json.dumps({**facts, "scenes": scenes, "qa": []}))
    make_video(tmp_path / "without_annotation.mp4", num_frames=2)
    return tmp_path


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


# ---------------------------------------------------------------- the command

def command(measure, argv: list[str]) -> int:
    return common.main(parser_of("A benchmark."), measure, argv)


def test_the_last_line_is_json_with_ok_and_figure(capsys):
    def measure(args, sheet):
        sheet.row("a row")
        return Outcome("2.5x", {"speed": 2.5}, ok=True, settings={"fps": 2})

    assert command(measure, ["--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("hardware: ") and lines[1] == "a row"
    last = json.loads(lines[-1])
    assert last["ok"] is True and last["figure"] == "2.5x" and last["numbers"] == {"speed": 2.5}
    assert last["fps"] == 2 and last["quick"] is True and last["model"] == "nano"


def test_json_prints_the_last_line_only_and_a_failed_figure_is_exit_1(capsys):
    def measure(args, sheet):
        sheet.row("a row")
        return Outcome("0.5x", {"speed": 0.5}, ok=False)

    assert command(measure, ["--json"]) == 1
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1 and json.loads(out)["ok"] is False


def test_a_mistake_is_a_sentence_and_exit_2(capsys, tmp_path):
    assert command(lambda args, sheet: load_clips(tmp_path), ["--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "--clips" in captured.err


def test_the_hardware_line_names_cores_memory_and_torch():
    line = common.hardware()
    assert "cores" in line and "GiB" in line and "torch " in line


# ---------------------------------------------------------------- clips

def test_clips_are_those_with_an_annotation(clips):
    assert [c.name for c in load_clips(clips)] == ["growing", "joined"]


def test_a_stream_knows_the_scene_of_a_time(clips):
    growing, joined = load_clips(clips)
    assert [joined.scene_at(t) for t in (0, 1.9, 2.0, 9.0)] == ["a", "a", "b", "joined"]
    assert growing.scene_at(1.0) == "growing"


def test_the_parts_depend_on_the_name_alone():
    names = [f"clip{i}" for i in range(400)]
    tests = sum(part_of(name) == "test" for name in names)
    assert 150 < tests < 250
    assert part_of("city_night") == part_of("city_night")
    assert {part_of(name) for name in names} == {"dev", "test"}


def test_a_failure_of_the_model_is_no_result():
    from streamassist.types import Failed, Stats

    fine, broken = Stats(t=1.0, wall=0.0), Failed(t=1.0, wall=0.0, text="It stumbled.")
    assert common.watched(iter([fine])) == [fine]
    with pytest.raises(StreamAssistError, match="It stumbled"):
        common.watched(iter([fine, broken]))


# ---------------------------------------------------------------- each benchmark, briefly

def test_qa_marks_answers_and_rules(clips, capsys):
    assert qa.command(["--model", "fake", "--clips", str(clips)]) == 0
    figure = last_line(capsys)["numbers"]["all"]
    assert figure["present"] == {"asked": 1, "right": 1, "fixed_nouns": 0}
    assert figure["past"]["right"] == 0
    assert figure["alert"] == {"asked": 1, "right": 1}
    assert figure["never"] == {"asked": 1, "right": 1}


def test_realtime_reports_speed_and_first_words(clips, capsys):
    assert realtime.command(["--model", "fake", "--clips", str(clips)]) == 0
    figure = last_line(capsys)["numbers"]
    assert figure["clips"] == 2 and figure["slowest_speed"] > 1
    assert figure["questions"] == 1 and figure["first_word_ms_median"] < 600


def test_soak_loops_the_clips_and_finds_memory_flat(clips, capsys):
    argv = ["--model", "fake", "--clips", str(clips), "--minutes", "1"]
    assert soak.command([*argv, "--memory", "last_n", "full"]) == 1
    figure = last_line(capsys)["numbers"]
    assert figure["last_n"]["grown"]["cache_tokens"] == 0
    assert figure["full"]["grown"]["cache_tokens"] > 0   # the control: "full" must not look flat


def test_a_loop_goes_on_in_time_and_stops(clips):
    growing = Clip(clips / "growing.mp4", {"duration_s": 4.0})
    times = [t for _, t in soak.Loop([growing], 10.0).frames(2.0)]
    assert times == [i / 2 for i in range(20)]


def test_growth_compares_the_last_quarter_with_the_second():
    def samples(rss_each: float = 0.0, ms_each: float = 0.0) -> list[soak.Sample]:
        return [soak.Sample(float(i), 64, 640, 100.0 + (i == 0) * 50 + rss_each * i,
                            100.0 + ms_each * i if i else None) for i in range(8)]

    flat, leak, slower = map(soak.growth, (samples(), samples(10.0), samples(0.0, 50.0)))
    assert flat == {"cache_tokens": 0, "cache_bytes": 0, "rss_mb": 0.0, "ask_times": 1.0}
    assert leak["rss_mb"] == 40.0 and slower["ask_times"] == round(425 / 225, 2)
    assert soak.is_flat(flat) and not soak.is_flat(leak) and not soak.is_flat(slower)


def test_the_verdict_on_speed_needs_every_clip_and_the_median_of_first_words():
    fast = {"a": 3.0, "b": 1.1}
    assert realtime.judge(fast, [100.0, 200.0, 5000.0], 0).ok
    assert not realtime.judge({**fast, "c": 0.9}, [100.0], 0).ok
    assert not realtime.judge(fast, [700.0, 601.0], 0).ok
    assert not realtime.judge(fast, [], 0).ok


@pytest.mark.parametrize("times, right", [
    ([5.0], True), ([6.0], True), ([5.0, 9.0], True), ([4.5, 5.5], False), ([6.5], False),
    ([], False),
])
def test_an_alert_is_right_within_the_tolerance_and_not_before(times, right):
    assert qa.alert_in_time(times, 5.0, 1.0) is right
