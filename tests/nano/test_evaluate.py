"""The evaluation of nano: fair questions, fair rivals, and a card that tells what was measured."""
import random
import re

import numpy as np
import pytest
import torch

from conftest import absent
from models.nano import evaluate, rivals
from models.nano.adapter import Nano
from models.nano.backbone import FEATURE_DIM
from models.nano.data import Picture, load_pictures, read_images
from models.nano.describe import append, describe, prefill
from models.nano.network import NUM_TOKENS
from models.nano.questions import WORD_GROUP, things_in, words_of
from models.nano.scores import CiderD
from models.nano.weights import OWN_WEIGHTS
from streamassist.errors import StreamAssistError
from streamassist.types import Frame
from tests import tiny_nano


def picture(*captions: str, file: str = "a.jpg") -> Picture:
    return Picture(file, "a.tar", "test", "human", captions)


SCENES = [
    picture("A dog runs on the grass.", "A brown dog is outside."),
    picture("Two men ride bicycles.", "Men on bikes in a street."),
    picture("A cat sleeps on a sofa.", "A cat on a couch."),
    picture("A boat on the lake.", "A small boat floats."),
]


@pytest.fixture(scope="module")
def tiny() -> Nano:
    return tiny_nano.build()[0]


# ---------------------------------------------------------------- questions

def test_questions_are_balanced_for_every_picture():
    for asked in evaluate.balanced_questions(SCENES):
        answers = [answer for _, answer in asked]
        assert answers.count("Yes.") == answers.count("No.") == evaluate.QUESTIONS_EACH


def test_a_yes_names_a_thing_of_the_captions_and_a_no_names_another():
    for scene, asked in zip(SCENES, evaluate.balanced_questions(SCENES), strict=True):
        seen = things_in(scene.captions)
        for question, answer in asked:
            named = {WORD_GROUP[w] for w in words_of(question) if w in WORD_GROUP}
            assert (named <= seen) if answer == "Yes." else (named - seen), question


def test_questions_are_the_same_every_time():
    assert evaluate.balanced_questions(SCENES) == evaluate.balanced_questions(SCENES)


def test_accuracy_counts_right_answers():
    asked = [("a?", "Yes."), ("b?", "No."), ("c?", "Yes."), ("d?", "No.")]
    assert evaluate.accuracy(asked, [0.9, 0.1, 0.4, 0.2]) == 0.75


def test_calibration_is_the_gap_between_what_is_said_and_what_is_true():
    asked = [("?", "Yes.")] * 3 + [("?", "No.")]
    assert evaluate.calibration_error(asked, [0.75] * 4) == pytest.approx(0)
    assert evaluate.calibration_error(asked, [0.95] * 4) == pytest.approx(0.2)
    assert evaluate.calibration_error(asked, [1.0, 1.0, 1.0, 0.0]) == pytest.approx(0)


def test_yes_is_read_off_the_first_answer_token_and_questions_leave_no_trace(tiny):
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    asked = [(f"Is there a {thing}?", "Yes.") for thing in ("dog", "cat", "boat", "tree", "bus")]
    together = evaluate.chances_of_yes(tiny, image, asked)
    alone = [evaluate.chances_of_yes(tiny, image, [question])[0] for question in asked]
    assert together == pytest.approx(alone, abs=1e-5)
    logits = append(tiny, prefill(tiny, [image]), tiny.question_ids(asked[0][0]))
    _, yes, no = tiny.yes_no_ids("It is")
    chance = logits[yes].exp().sum() / (logits[yes].exp().sum() + logits[no].exp().sum())
    assert together[0] == pytest.approx(float(chance), abs=1e-5)


# ---------------------------------------------------------------- the blind model

def test_the_blind_model_sees_the_same_in_every_picture(tiny):
    blind = evaluate.Blind(tiny, torch.zeros(NUM_TOKENS, FEATURE_DIM))
    dark, light = (Frame(np.full((30, 40, 3), v, np.uint8), 0.0, 0) for v in (0, 255))
    assert torch.equal(*(t.embeds for t in blind.encode([dark, light])))
    assert not torch.equal(*(t.embeds for t in tiny.encode([dark, light])))
    assert describe(blind, dark.image) == describe(blind, light.image)


# ---------------------------------------------------------------- rivals

def test_nearest_goes_by_direction_and_leaves_out_the_series():
    train = np.array([[10.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    test = np.array([[1.0, 0.1], [0.2, 3.0]])
    assert rivals.nearest(test, train).tolist() == [0, 1]
    excluded = np.array([[True, False, False], [False, False, False]])
    assert rivals.nearest(test, train, excluded).tolist() == [2, 1]


def test_most_common_caption_ignores_case():
    train = [picture("A dog.", "Two cats."), picture("a dog.", "Two men."), picture("Two cats!")]
    assert rivals.most_common_caption(train) == "A dog."


@pytest.mark.parametrize("count", [2, 3, 50])
def test_shuffling_moves_every_caption(count):
    captions = [str(i) for i in range(count)]
    moved = rivals.shuffled(captions)
    assert sorted(moved) == sorted(captions)
    assert all(a != b for a, b in zip(captions, moved, strict=True))


def test_features_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("STREAMASSIST_CACHE", str(tmp_path))
    with pytest.raises(StreamAssistError, match="models.nano.train"):
        rivals.mean_features(SCENES, SCENES)


# ---------------------------------------------------------------- figures and card

def measured() -> dict:
    """A result worked out from captions: nano is right about three scenes of four."""
    references = [p.captions for p in SCENES]
    right = [c[0] for c in references]
    captions = {
        evaluate.NANO: [*right[:3], "A dog."],
        evaluate.NEAREST: ["A dog is outside.", "A cat.", "A cat.", "A dog."],
        evaluate.SHUFFLED: rivals.shuffled(right),
    }
    alone = np.array([True, True, False, True])
    scores = evaluate.caption_scores(captions, references, alone)
    yes_no = {"questions": 8, "nano": 0.75, "blind": 0.5, "calibration_error": 0.1}
    return {"pictures": 4, "weights": "ab" * 32, **scores, "yes_no": yes_no}


def test_the_gain_is_the_mean_of_the_paired_differences():
    result = measured()
    nano, near = (row["cider_d"] for row in result["rows"][:2])
    mean, low, high = result["gain"]
    assert mean == pytest.approx(nano - near)
    assert low < mean < high
    assert result["alone"] == 3


def test_verdicts_follow_the_figures():
    result = measured()
    result["gain"][1] = 0.01
    assert all(evaluate.verdicts(result).values())
    result["gain"][1] = -0.01
    result["rows"][0]["cider_d"] = 0.3
    result["yes_no"]["nano"] = 0.7
    failed = [what for what, held in evaluate.verdicts(result).items() if not held]
    assert len(failed) >= 3
    assert any("chance" in what for what in failed)


def test_the_card_gets_the_table_between_its_markers_only(tmp_path):
    card = tmp_path / "CARD.md"
    card.write_text(f"# nano\n{evaluate.BEGIN}\nold\n{evaluate.END}\nLicence.\n")
    text = evaluate.table(measured())
    evaluate.write_card(text, card)
    assert card.read_text() == f"# nano\n{evaluate.BEGIN}\n{text}\n{evaluate.END}\nLicence.\n"
    assert "| nano, greedy |" in text and "75.0 % right" in text
    card.write_text("# nano\n")
    with pytest.raises(StreamAssistError, match="markers"):
        evaluate.write_card(text, card)


def test_the_shipped_card_has_its_markers(tmp_path):
    copy = tmp_path / "CARD.md"
    copy.write_text(evaluate.CARD.read_text())
    evaluate.write_card("table", copy)
    assert "\ntable\n" in copy.read_text()


def test_the_page_tells_the_figure_of_the_card():
    right = re.search(r"nano ([\d.]+) % right", evaluate.CARD.read_text())[1]
    assert f"right in {float(right):.0f} % of balanced yes or no" in Nano.note


# ---------------------------------------------------------------- on the real pictures

@pytest.mark.shared
def test_the_test_pictures_are_in_no_other_split(shared_data):
    everything = load_pictures(shared_data / "train")
    test = evaluate.pictures_of_test(everything)
    assert len(test) > 300 and all(len(p.captions) == 5 for p in test)
    assert not {p.file for p in test} & {p.file for p in everything if p.split != "test"}


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_shuffling_the_pictures_at_least_halves_cider(shared_data):
    if not OWN_WEIGHTS.is_file():
        absent(str(OWN_WEIGHTS.name))
    folder = shared_data / "train"
    test = random.Random(0).sample(evaluate.pictures_of_test(load_pictures(folder)), 24)
    model, captions = Nano.load(), [""] * len(test)
    for i, image in read_images(test, folder):
        captions[i] = describe(model, np.asarray(image))
    scorer = CiderD([p.captions for p in test])
    seen, wrong = scorer.score(captions), scorer.score(rivals.shuffled(captions))
    assert wrong.mean() <= seen.mean() / 2
