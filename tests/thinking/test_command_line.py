"""Choosing where answers stand and how notes are taken, and which choices are refused."""
import pytest

import app
from models.fake import FakeLLM
from streamassist.clock import RealClock
from streamassist.config import Config, EngineConfig
from streamassist.errors import StreamAssistError
from tests import tiny_nano


def test_the_flags_name_a_place_and_a_method_with_its_settings():
    config = app.parse_flags(
        ["--branch", "gap", "--gap", "64", "--thinking", "segment_notes:most=9"]
    )
    assert (config.engine.branch, config.engine.gap) == ("gap", 64)
    assert config.thinking == "segment_notes:most=9"
    plain = app.parse_flags([])
    assert (plain.engine.branch, plain.engine.gap, plain.thinking) == ("follow", 256, "none")


@pytest.mark.parametrize(("flags", "mend"), [
    (["--branch", "behind"], "choose one of: follow, overlap, gap, group"),
    (["--gap", "-1"], "--gap must be between 0 and 1000000, not -1"),
    (["--gap", "wide"], "--gap: invalid int"),
])
def test_a_wrong_flag_is_named(flags, mend):
    with pytest.raises(StreamAssistError, match=mend):
        app.parse_flags(flags)


@pytest.mark.parametrize("spec", ["magic", "streaming_notes:most=0", "none:every_s=3"])
def test_wrong_notes_are_told_before_the_model_is_loaded(spec, monkeypatch):
    monkeypatch.setattr("models.load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(StreamAssistError, match="thinking|most"):
        app.build(Config(thinking=spec))


def test_a_gap_that_does_not_fit_is_refused_before_the_first_frame():
    config = Config(engine=EngineConfig(branch="gap", gap=3000))
    with pytest.raises(StreamAssistError, match="choose at most 2048, or another --branch"):
        app.compose(FakeLLM(max_context=4096), "", config, RealClock())


def test_each_conversation_takes_its_own_notes():
    model, _ = tiny_nano.build()
    config = Config(thinking="streaming_notes:every_s=1", memory="last_n")
    made = app.compose(model, "", config, RealClock())
    one, two = (made.make_session(lambda _: None).engine for _ in range(2))
    one.thinking.due(0.0, True)
    one.thinking.take("A man.", 0.0, 1.0)
    assert len(one.thinking.notes) == 1 and two.thinking.notes == []
    assert one.thinking.every_s == 1.0 and one.thinking.model is model
