"""Replay: determinism, timing of commands, the event lines, the command line."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

from desk import Desk
from samples import make_video
from streamassist.config import Config
from streamassist.errors import StreamAssistError
from streamassist.replay import Plan, parse_timed, replay, replay_real_time
from streamassist.types import Alert, Answer, Remark, Stats
from streamassist.video import open_video

ROOT = Path(__file__).resolve().parents[1]
VOLATILE = ("wall", "first_word_ms", "lag_s", "used_fps", "source_fps")


@pytest.fixture
def video(tmp_path):
    return open_video(make_video(tmp_path / "clip.mp4", num_frames=60))


def run(video, asks=(), watches=(), **kw):
    desk = Desk(config=Config(**kw))
    make = lambda emit: _redirected(desk, emit)   # noqa: E731  (as app.build hands it over)
    return list(replay(video, make, desk.config, Plan.parse(list(asks), list(watches))))


def _redirected(desk, emit):
    desk.session._emit = emit
    return desk.session


def steady(events) -> list[dict]:
    return [{k: v for k, v in e.line().items() if k not in VOLATILE} for e in events]


def test_two_runs_are_the_same(video):
    asks, watches = ["1.2:What?", "3:And now?"], ["0.5:Tell me when there is a bright picture"]
    assert steady(run(video, asks, watches)) == steady(run(video, asks, watches))


def test_a_question_sees_the_frames_up_to_its_moment(video):
    (answer,) = [e for e in run(video, ["1.2:What?"], response="on_query")
                 if isinstance(e, Answer)]
    assert answer.question_t == answer.t == 1.2
    assert answer.evidence == [{"t": 1.0, "frame": 2}] and answer.span[1] == 1.0


def test_questions_after_the_end_are_answered(video):
    events = run(video, ["99:What was it?"])
    assert [e.question for e in events if isinstance(e, Answer)] == ["What was it?"]


def test_nothing_is_dropped_and_the_last_line_counts(video):
    last = run(video)[-1]
    assert isinstance(last, Stats) and last.frames_seen == last.frames_used == 12
    assert last.frames_dropped == 0


@pytest.mark.parametrize("text, parsed", [
    ("12.0:What is this?", (12.0, "What is this?")),
    ("0.5: Tell me when: now", (0.5, "Tell me when: now")),
    ("What is this?", (0.0, "What is this?")),
    ("Tell me: is it on?", (0.0, "Tell me: is it on?")),
])
def test_timed_words(text, parsed):
    assert parse_timed(text, "--ask") == parsed


def test_no_words_are_refused():
    with pytest.raises(StreamAssistError, match="--ask needs words"):
        parse_timed("12.0:", "--ask")


def test_real_time_takes_as_long_as_the_clip(tmp_path):
    from streamassist.clock import RealClock

    video = open_video(make_video(tmp_path / "clip.mp4", num_frames=20))
    desk, clock = Desk(config=Config(response="on_query")), RealClock()
    began = clock.monotonic()
    events = list(replay_real_time(
        video, lambda emit: _redirected(desk, emit), desk.config, Plan.parse(["1:What?"], []), clock
    ))
    assert 1.4 < clock.monotonic() - began < 10
    (answer,) = [e for e in events if isinstance(e, Answer)]
    assert answer.t >= 1.0 and isinstance(events[-1], Stats) and events[-1].frames_used >= 3


def command(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "streamassist", *args], cwd=ROOT, capture_output=True, text=True,
        timeout=120,
    )


def test_command_line_writes_json_lines(tmp_path):
    clip, out = make_video(tmp_path / "clip.mp4", num_frames=40), tmp_path / "events.jsonl"
    done = command("replay", str(clip), "--model", "fake", "--ask", "1:What?",
                   "--watch", "a dark picture", "--out", str(out))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {"answer", "stats"} <= {line["type"] for line in lines}
    assert "fake, as asked for" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("args, words", [
    (["nowhere.mp4"], "no file"),
    (["{clip}", "--model", "nope"], "--model"),
    (["{clip}", "--memory", "elephant"], "--memory"),
    (["{clip}", "--memory", "last_n:frames=x"], "whole number"),
    (["{clip}", "--fps", "0"], "--fps"),
    (["{clip}", "--model", "fake", "--ask", "3:"], "--ask"),
    (["{clip}", "--model", "fake", "--out", "/nowhere/x"], "--out"),
    (["{clip}", "--no-such-flag"], "--no-such-flag"),
])
def test_mistakes_are_told_in_one_sentence(tmp_path, args, words):
    clip = str(make_video(tmp_path / "clip.mp4", num_frames=10))
    done = command("replay", *[a.format(clip=clip) for a in args])
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_remarks_and_alerts_are_lines_too(video):
    """The clip darkens and brightens through grey, with a red quarter."""
    events = run(video, watches=["1.0:a dark picture"])
    (alert,) = [e for e in events if isinstance(e, Alert)]
    assert alert.rule == "a dark picture" and alert.rule_t == 1.0 and alert.evidence
    assert [e for e in events if isinstance(e, Remark)]
