"""SmolVLM2: prompts in its video format, fixed tokens a frame, black frames, loading."""
import json

import numpy as np
import pytest
import torch

import models
from models.checkpoint import rope_of
from models.smolvlm import INTRO, SmolVLM, time_text
from streamassist.types import Frame, Role
from tests.tiny_models import adapter, build, frames

ANSWERED = ("is there a box?", "yes, a red box.")


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """Loading picks bfloat16 on some CPUs; equality is tested in float32."""
    monkeypatch.setattr("models.checkpoint.fast_dtype", lambda device: torch.float32)


@pytest.fixture(scope="module")
def llm():
    return adapter("smolvlm")


def save(folder):
    model, words = build("smolvlm")
    model.save_pretrained(folder)
    words.save_pretrained(folder)


# ---------------------------------------------------------------- prompts

@pytest.mark.parametrize("history", [(), (ANSWERED,), (ANSWERED, ANSWERED)])
def test_ids_are_those_of_the_whole_template(llm, history):
    shown = frames(2, fps=0.01)
    ids = [
        *llm.prompt_ids(),
        *(i for t in llm.encode(shown) for i in llm.frame_chunk(t, 0).ids.tolist()),
        *llm.question_ids("what do you see?", history),
    ]
    picture = "<fake_token_around_image><global-img>" + "<image>" * 16 + "<fake_token_around_image>"
    told = "".join(time_text(f.pts) + picture for f in shown)
    turns = [text for pair in history for text in pair] + ["what do you see?"]
    turns[0] = f"{INTRO}{told}\n\n{turns[0]}"
    messages = [{"role": "system", "content": [{"type": "text", "text": llm.system}]}]
    for i, turn in enumerate(turns):
        role = "assistant" if i % 2 else "user"
        messages.append({"role": role, "content": [{"type": "text", "text": turn}]})
    text = llm.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert ids == llm.encode_text(text)


def test_the_opening_speaks_of_frames(llm):
    opening = llm.tokenizer.decode(llm.prompt_ids())
    assert opening == f"<|im_start|>System: {llm.system}<end_of_utterance>\nUser: {INTRO}"


def test_the_question_ends_where_the_answer_starts(llm):
    text = llm.tokenizer.decode(llm.question_ids("why?"))
    assert text == "\n\nwhy?<end_of_utterance>\nAssistant:"


def test_times_are_minutes_and_seconds():
    assert time_text(0.4) == "\nFrame from 00:00:"
    assert time_text(3725.9) == "\nFrame from 62:05:"


def test_control_tokens_typed_by_a_user_are_taken_out(llm):
    ids = llm.question_ids("<end_of_utterance>a<image>")
    assert ids == llm.question_ids("a")
    assert llm.image_id not in ids


def test_yes_and_no_begin_differently(llm):
    _, yes, no = llm.yes_no_ids("A box is seen.")
    assert yes and no and not set(yes) & set(no)


def test_the_answer_stops_at_the_end_of_the_turn(llm):
    assert llm.tokenizer.convert_tokens_to_ids("<end_of_utterance>") in llm.stop_ids
    assert not llm.choice_ids


# ---------------------------------------------------------------- frames

@pytest.mark.parametrize("size", [(64, 64), (48, 100), (200, 30)])
def test_every_frame_takes_the_same_tokens(llm, size):
    (tokens,) = llm.encode(frames(1, size))
    assert tokens.embeds.shape == (16, 64) and tokens.grid == (1, 4, 4)
    assert llm.tokens_per_frame == 16
    chunk = llm.frame_chunk(tokens, 7)
    assert chunk.positions.tolist() == [list(range(7, 7 + chunk.span))]


def test_frames_of_nothing_but_zeros_are_kept(tmp_path):
    """The stock model takes a picture of zeros for padding and leaves it out."""
    save(tmp_path)
    settings = {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}   # black becomes zero
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    llm = SmolVLM.from_folder(tmp_path)
    black, noise = np.zeros((64, 64, 3), np.uint8), frames(1, (64, 64))[0].image
    shown = [Frame(image, float(i), i) for i, image in enumerate((black, noise, black))]
    assert not llm.pixels(black, llm.device).any()
    first, second, third = llm.encode(shown)
    assert torch.allclose(first.embeds, third.embeds, atol=1e-6)
    assert not torch.allclose(first.embeds, second.embeds, atol=1e-2)
    assert torch.allclose(second.embeds, llm.encode(shown[1:2])[0].embeds, atol=1e-5)


def test_features_are_those_of_the_stock_model(llm):
    pixels = torch.stack([llm.pixels(f.image, llm.device) for f in frames(3, (64, 64))])
    with torch.inference_mode():
        stock = build("smolvlm")[0].get_image_features(pixels[None], return_dict=True)
    ours = torch.stack([t.embeds for t in llm.encode(frames(3, (64, 64)))])
    assert torch.allclose(ours.flatten(0, 1), torch.cat(stock.pooler_output), atol=1e-5)


def test_no_frames_give_no_tokens(llm):
    assert llm.encode([]) == []


# ---------------------------------------------------------------- rotary embedding, loading

def test_rope_is_that_of_transformers(llm):
    model = build("smolvlm")[0]
    positions = torch.arange(0, 500, 7)[None]
    stock = model.get_decoder().rotary_emb(torch.zeros(1), positions)
    ours = rope_of(model.config.text_config).cos_sin(positions)
    assert llm.num_axes == 1
    for mine, theirs in zip(ours, stock, strict=True):
        assert (mine - theirs[0]).abs().max() < 1e-4


def test_a_saved_checkpoint_loads_and_answers_alike(llm, tmp_path):
    save(tmp_path)
    loaded, reason = models.load(str(tmp_path), device="cpu")
    assert isinstance(loaded, SmolVLM) and str(tmp_path) in reason
    chunk = llm.text_chunk(llm.prompt_ids(), 0, Role.PROMPT, 0.0)
    ours, theirs = (m.forward(chunk, m.new_cache()) for m in (loaded, llm))
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_the_video_size_of_the_checkpoint_is_used(tmp_path):
    save(tmp_path)
    settings = {"video_sampling": {"video_size": {"longest_edge": 96}}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    loaded = SmolVLM.from_folder(tmp_path)
    assert (loaded.pixels.edge, loaded.pixels.side) == (96, 64)
