"""Frames encoded in groups ahead of time: the same tokens in order, errors with their frame."""
import json

import pytest
import torch

import tiny_nano
from models.overlap import GROUPS, EncodeAhead
from streamassist.__main__ import main
from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.ingest import in_groups
from streamassist.memory import METHODS
from tests.tiny_models import adapter, frames

VOLATILE = ("wall", "first_word_ms", "lag_s", "used_fps", "source_fps")


class Calls:
    """A model that notes what it was asked to encode, and stumbles over frame number `bad`."""

    device, name = torch.device("cpu"), "calls"

    def __init__(self, bad: int | None = None):
        self.asked, self.bad = [], bad

    def encode(self, shown):
        self.asked.append([f.index for f in shown])
        if self.bad in self.asked[-1]:
            raise ValueError(f"frame {self.bad} is torn")
        return [f"tokens of {f.index}" for f in shown]


def test_prepared_frames_are_encoded_together_and_taken_one_by_one():
    model, shown = Calls(), frames(8)
    ahead = EncodeAhead(model)
    got = [ahead.encode([frame])[0] for frame in in_groups(iter(shown), 3, ahead.prepare)]
    assert got == [f"tokens of {i}" for i in range(8)]
    assert model.asked == [[0, 1, 2], [3, 4, 5], [6, 7]] and ahead.name == "calls"
    assert ahead.encode(shown[:2]) == got[:2] and model.asked[-1] == [0, 1]   # given away once


def test_an_error_comes_with_its_frame_and_the_others_are_encoded():
    model, got = Calls(bad=4), []
    ahead = EncodeAhead(model)
    frames_in = in_groups(iter(frames(7)), 3, ahead.prepare)
    for frame in frames_in:
        if frame.index == 4:
            with pytest.raises(ValueError, match="frame 4 is torn"):
                ahead.encode([frame])
        else:
            got += ahead.encode([frame])
    assert got == [f"tokens of {i}" for i in range(7) if i != 4]


def test_no_more_than_two_groups_wait():
    ahead, shown = EncodeAhead(Calls()), frames(9)
    for start in range(0, 9, 3):
        ahead.prepare(shown[start : start + 3])
    assert len(ahead._waiting) == GROUPS == 2
    assert ahead.encode(shown[:1]) == ["tokens of 0"] and ahead._model.asked[-1] == [0]
    assert ahead.encode(shown[3:4]) == ["tokens of 3"] and ahead._model.asked[-1] == [0]


def test_the_source_s_error_comes_behind_its_frames():
    def source():
        yield from frames(4)
        raise OSError("cut")

    groups, seen = [], []
    with pytest.raises(OSError, match="cut"):
        seen.extend(f.index for f in in_groups(source(), 3, groups.append))
    assert seen == [0, 1, 2, 3] and [len(g) for g in groups] == [3, 1]


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl", "smolvlm", "nano"])
def test_a_stream_read_in_groups_is_the_same(kind):
    shown = tiny_nano.frames(5) if kind == "nano" else frames(5)
    caches = []
    for size in (1, 3):
        model = EncodeAhead(tiny_nano.build()[0] if kind == "nano" else adapter(kind))
        engine = Engine(model, make_method("memory", "last_n:frames=3", METHODS), EngineConfig())
        for frame in in_groups(iter(shown), size, model.prepare):
            engine.observe(frame)
        caches.append(engine.cache)
    one, three = caches
    assert one.frames() == three.frames() == [2, 3, 4] and one.size == three.size
    torch.testing.assert_close(
        one.value[:, :, : one.size], three.value[:, :, : one.size], atol=1e-4, rtol=0
    )


# ---------------------------------------------------------------- the command line

def lines(capsys) -> list[dict]:
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [{k: v for k, v in event.items() if k not in VOLATILE} for event in events]


def test_a_clip_is_replayed_in_groups_to_the_same_lines(tiny_video, capsys):
    base = ["replay", str(tiny_video), "--model", "fake", "--ask", "1:What?"]
    assert main(base) == 0
    plain = lines(capsys)
    assert main([*base, "--together", "3"]) == 0
    assert lines(capsys) == plain and plain


@pytest.mark.parametrize("flags, told", [
    (["--together", "0"], "--together must be between 1 and 64"),
    (["--together", "4", "--real-time"], "without --real-time"),
    (["--cuda-graphs", "--model", "fake"], "--cuda-graphs does not suit the model"),
])
def test_mistakes_are_told(tiny_video, capsys, flags, told):
    assert main(["replay", str(tiny_video), "--model", "fake", *flags]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_the_tokens_are_the_same():
    shown, kind = frames(8), "qwen3_vl"
    tiny = adapter(kind)
    llm = type(tiny)(tiny.model.to("cuda"), tiny.tokenizer, name=kind)
    ahead = EncodeAhead(llm)
    for frame in in_groups(iter(shown), 3, ahead.prepare):
        (ours,), (theirs,) = ahead.encode([frame]), llm.encode([frame])
        torch.testing.assert_close(ours.embeds, theirs.embeds, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.deepstack, theirs.deepstack, atol=1e-4, rtol=0)
