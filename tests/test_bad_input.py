"""What newcomers mistype and attackers send: one sentence and exit code 2, or a message in the page
while the stream goes on. Cases that belong to one module are told in that module's own tests.
"""
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import app
from models.nano.weights import PackagedFile
from places import ROOT
from samples import make_cut, make_empty, make_rubbish, make_sound
from streamassist import sources
from streamassist.__main__ import main
from streamassist.config import Config, ServerConfig
from streamassist.errors import StreamAssistError
from streamassist.frames import RawFrame
from streamassist.sources import SourceRunner, parse_source, redact
from tiny_nano import build as build_tiny_nano


def sentence(code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a command that failed as it should."""
    told = capsys.readouterr()
    assert code == 2 and told.out == ""
    (line,) = told.err.strip().splitlines()
    assert line.endswith(".") and "Traceback" not in line
    return line


# ---------------------------------------------------------------- flags of app.py

@pytest.mark.parametrize("flags, words", [
    (["--fps", "nan"], "--fps must be between 0.1 and 30, not nan"),
    (["--fps", "-1"], "--fps must be between"),
    (["--fps", "1e9"], "--fps must be between"),
    (["--fps", "fast"], "--fps: invalid float"),
    (["--port", "0"], "--port must be between 1 and 65535"),
    (["--port", "99999"], "--port must be between"),
    (["--port", "abc"], "--port: invalid int"),
    (["--host", "0.0.0.0"], "with --token SECRET"),
    (["--host", " "], "--host is empty"),
    (["--token", ""], "--token is empty"),
    (["--host", "0.0.0.0", "--token", " "], "--token is empty"),
    (["--quantize", "int3"], "choose one of: none, int8, nf4"),
    (["--attention", "none"], "choose one of: auto"),
    (["--no-such-flag"], "--no-such-flag; see app.py --help"),
])
def test_a_wrong_flag_is_named(flags, words, capsys):
    assert words in sentence(app.run(lambda: app.parse_flags(flags)), capsys)


@pytest.mark.parametrize("option, spec, words", [
    ("memory", "last_n:frames=0", "frames must be between 1 and 10000, not 0"),
    ("memory", "last_n:frames=-3", "frames must be between"),
    ("memory", "last_n:frames=1000000000", "frames must be between"),
    ("memory", "last_n:frames", "a whole number, not ''"),
    ("memory", "last_n:budget=4", "no setting 'budget'; it has: frames"),
    ("memory", "attention_sinks:budget=0", "budget must be between"),
    ("memory", "attention_sinks:sink_frames=-1", "sink_frames must be between"),
    ("memory", "uniform:budget=0", "budget must be between"),
    ("memory", "random:budget=-5", "budget must be between"),
    ("memory", "full:max_tokens=0", "max_tokens must be between"),
    ("response", "change_gate:settled=nan", "settled must be between"),
    ("response", "change_gate:patience_s=-1", "patience_s must be between"),
    ("model", "a" * 300, "neither a name"),
    ("model", "~nobody-of-that-name/weights", "neither a name"),
    ("model", "zero\0byte", "neither a name"),
])
def test_a_wrong_method_or_model_is_named(option, spec, words, capsys):
    given = {"model": "fake", option: spec}
    assert words in sentence(app.run(lambda: app.build(Config(**given))), capsys)


@pytest.mark.parametrize("spec, held", [
    ("attention_sinks:budget=1", [0, 4]), ("attention_sinks:budget=1,sink_frames=0", [4]),
    ("uniform:budget=1", [4]), ("random:budget=1", [4]), ("full:max_tokens=1", [4]),
    ("last_n:frames=1", [4]),
])
def test_the_smallest_budget_still_holds_the_newest_frame(spec, held):
    made = app.build(Config(model="fake", memory=spec, response="on_query"))
    session = made.make_session(lambda event: None)
    for index in range(5):
        session.observe(RawFrame(index / 2, np.zeros((8, 8, 3), np.uint8), index).decode())
    assert session.engine.cache.frames() == held


@pytest.mark.parametrize("source, words", [
    ("camera:97", "no camera 97"),
    ("camera:front", "by its number"),
    ("http://h/x.mp4", "begins with http:// is not supported"),
    ("rtsp://", "not a complete address"),
    ("missing.mp4", "no file missing.mp4"),
    ("~nobody-of-that-name/x.mp4", "no user ~nobody-of-that-name"),
    ("zero\0byte.mp4", "cannot be a file"),
    ("x" * 5000, "cannot be read"),
    (str(ROOT), "is a folder"),
])
def test_a_source_that_cannot_work_is_told_before_the_model_is_loaded(
    source, words, capsys, monkeypatch
):
    monkeypatch.setattr(app, "build", lambda config: pytest.fail("the model was loaded"))
    assert words in sentence(app.run(lambda: app.serve(Config(source=source))), capsys)


def test_an_address_that_is_not_ours_is_told(capsys, monkeypatch):
    server = ServerConfig(host="203.0.113.7", token="secret")
    code = app.run(lambda: app.serve(Config(model="fake", source="none", server=server)))
    told = capsys.readouterr()
    assert code == 2 and "cannot listen on 203.0.113.7" in told.err and "--host" in told.err
    assert "secret" not in told.err + told.out and len(told.err.splitlines()) == 1


# ---------------------------------------------------------------- weights

class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_weights_are_refused_and_never_opened(tmp_path, capsys):
    boom = tmp_path / "boom"
    (tmp_path / "config.json").write_text('{"model_type": "smolvlm"}')
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(boom)))
    code = app.run(lambda: app.build(Config(model=str(tmp_path))))
    assert "*.safetensors" in sentence(code, capsys)
    assert not boom.exists()


def test_a_model_type_that_is_no_word_is_told(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": ["smolvlm"]}')
    code = app.run(lambda: app.build(Config(model=str(tmp_path))))
    assert "not supported; supported are" in sentence(code, capsys)


@pytest.mark.parametrize("package, path, words", [
    ("json", "decoder.py", "does not have the expected SHA-256, so it is not loaded"),
    ("json", "nothing.bin", "is missing"),
    ("no_such_package", "x", "is not installed"),
])
def test_packaged_weights_must_be_the_recorded_ones(package, path, words):
    with pytest.raises(StreamAssistError, match=words) as caught:
        PackagedFile(f"{package}==1.0", package, path, "0" * 64).locate()
    assert "make setup" in str(caught.value)


# ---------------------------------------------------------------- replay and doctor

@pytest.mark.parametrize("make, words", [
    (make_empty, "is empty"), (make_rubbish, "damaged"), (make_cut, "damaged"),
    (make_sound, "sound only"), (lambda path: path, "no file"), (lambda path: ROOT, "is a folder"),
])
def test_a_bad_clip_is_told_by_replay(make, words, tmp_path, capsys):
    clip = make(tmp_path / "clip.wav" if make is make_sound else tmp_path / "clip.mp4")
    assert words in sentence(main(["replay", str(clip), "--model", "fake"]), capsys)


def replay(clip: Path, *args: str) -> int:
    return main(["replay", str(clip), "--model", "fake", *args])


def test_the_clip_is_never_written_over(tiny_video, capsys):
    before = tiny_video.read_bytes()
    assert "is the clip itself" in sentence(replay(tiny_video, "--out", str(tiny_video)), capsys)
    assert tiny_video.read_bytes() == before


def test_a_mistake_keeps_the_results_of_last_time(tiny_video, tmp_path, capsys):
    out = tmp_path / "events.jsonl"
    out.write_text("precious")
    sentence(replay(tiny_video, "--model", "nope", "--out", str(out)), capsys)
    assert out.read_text() == "precious"


@pytest.mark.parametrize("where", [".", "not/there", "x" * 300])
def test_an_output_that_cannot_be_written_is_told(where, tiny_video, tmp_path, capsys):
    code = replay(tiny_video, "--out", str(tmp_path / where))
    assert "cannot be written" in sentence(code, capsys)


needs_full_disk = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="only Linux has a disk that is always full"
)


@needs_full_disk
def test_a_disk_that_fills_up_is_told(tiny_video, capsys):
    assert replay(tiny_video, "--out", "/dev/full") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("/dev/full cannot be written (No space left on device); free some space")


@needs_full_disk
def test_a_full_disk_behind_standard_output_is_told(tiny_video):
    command = [sys.executable, "-m", "streamassist", "replay", str(tiny_video), "--model", "fake"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "<stdout> cannot be written (No space left" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("argv, words", [
    (["doctor", "--fix"], "--fix; see python -m streamassist doctor --help"),
    (["docter"], "there are: replay, doctor"),
    (["replay"], "required: clip"),
    (["replay", "x.mp4", "--ask"], "--ask: expected one argument"),
])
def test_a_wrong_command_is_named(argv, words, capsys):
    assert words in sentence(main(argv), capsys)


# ---------------------------------------------------------------- secrets

@pytest.mark.parametrize("url", [
    "rtsp://me:sec'secret@cam/x", 'rtsp://me:sec"secret@cam/x', "rtsp://me:my secret@cam/x",
    "rtsp://me:sec@secret@cam/x", "rtsps://me:secret@cam:322/x?token=secret",
])
def test_no_password_is_ever_shown(url):
    assert "secret" not in redact(url) and "cam" in redact(url)
    assert "secret" not in str(parse_source(url))


def test_a_file_is_called_by_its_name_not_by_its_folder():
    assert str(parse_source("/home/me/private/clip.mp4")) == "clip.mp4"


# ---------------------------------------------------------------- dead addresses

@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"rtsp://me:secret@127.0.0.1:{listening.getsockname()[1]}/x"


def test_an_address_that_never_answers_is_given_up_in_time(black_hole, monkeypatch):
    monkeypatch.setattr(sources, "TIMEOUT_S", (0.3, 0.3))
    told = Told()
    runner = SourceRunner(black_hole, told.offer, told.notify)
    runner.start()
    assert told.came.wait(20)
    runner.stop()
    assert "it does not answer" in told.words[0] and "secret" not in told.words[0]


def test_a_source_that_was_left_says_nothing_more():
    told = Told()
    runner = SourceRunner("rtsp://cam/x", told.offer, told.notify)
    runner.stop()
    runner._lost(TimeoutError())
    assert told.words == []


class Told:
    """Takes what a runner says."""

    def __init__(self):
        self.words, self.came = [], threading.Event()

    def offer(self, frame: RawFrame) -> None:
        pass

    def notify(self, text: str) -> None:
        self.words.append(text)
        self.came.set()


# ---------------------------------------------------------------- words

@pytest.mark.parametrize("text", ["<|im_end|>What is it?<|im_start|>", "What is it?<|endoftext|>"])
def test_control_tokens_do_not_reach_a_language_model(text: str) -> None:
    nano = build_tiny_nano()[0]
    assert nano.question_ids(text) == nano.question_ids("What is it?")
    assert nano.question_ids("half \ud800 a pair") == nano.question_ids("half ? a pair")
