"""The benchmark of token reducers: fair questions, and what follows from the answers."""
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tokens
from benchmarks.common import Clip, specs_of
from benchmarks.looks import Looks
from models.nano.questions import things_in
from tests import tiny_nano

FACTS = {
    "scene": "A dog in a park.", "duration_s": 20.0,
    "events": [{"start": 0, "end": 9, "text": "A dog runs."},
               {"start": 9, "end": 20, "text": "A bicycle stands there."}],
}
CLIP = Clip(Path("/x/dog_park.mp4"), FACTS)


def test_as_many_yes_as_no_and_only_what_is_there_then():
    asks = tokens.asks_of(CLIP)
    assert len(asks) == 18 and sum(ask.yes for ask in asks) == 9
    for ask in asks:
        (thing,) = things_in([ask.question])
        text = [FACTS["scene"]] + [e["text"] for e in FACTS["events"]]
        if ask.yes:
            text = [FACTS["scene"], FACTS["events"][0 if ask.t < 9 else 1]["text"]]
            assert thing in things_in([*text, FACTS["events"][1]["text"]] if ask.t == 9 else text)
        else:
            assert thing not in things_in(text)
    assert tokens.asks_of(CLIP) == asks


def test_settings_stay_with_their_method():
    assert specs_of("a,b:x=1,y=2,c") == ["a", "b:x=1,y=2", "c"]


@pytest.mark.parametrize(("spec", "read"), [
    ("none", 1.0), ("stc:share=0.5", 0.5), ("key_norm:share=0.25", 0.25),
])
def test_questions_are_answered_and_tokens_counted(tmp_path, spec, read):
    model, _ = tiny_nano.build()
    looks = Looks(model, lambda _: [f.image for f in tiny_nano.frames(40)], tmp_path)
    looks.prepare([CLIP.name], lambda _: True)
    result = tokens.watch(model, looks, [CLIP], spec)
    assert len(result.right) == 18 and result.read == pytest.approx(read) and result.frame_ms > 0


def test_temporal_drop_must_leave_out_enough_and_lose_little():
    def row(name: str, read: float, gain: float) -> dict:
        return {"reducer": name, "read": read, "gain": gain, "low": gain - 0.1, "high": gain + 0.1}

    rows = [row("none", 1.0, 0.0), row("temporal_drop:threshold=0.1", 0.5, 0.0),
            row("temporal_drop:share=0.4", 0.4, -0.015), row("stc", 0.3, 0.1)]
    done = tokens.judged(rows, 600)
    assert done.ok and done.figure.startswith("temporal_drop:share=0.4: 60% dropped, -1.5 points")
    assert not tokens.judged(rows[:2], 600).ok
    assert not tokens.judged([row("temporal_drop", 0.3, -0.03)], 600).ok


def test_a_clip_is_only_decoded_for_those_who_look_at_pixels():
    assert [p.size for p in tokens.pictures_for("stc", CLIP)] == [0] * 40
    assert np.array_equal(tokens.NOTHING, tokens.pictures_for("none", CLIP)[0])
