"""Qwen2.5-VL and Qwen3-VL: positions, rotary embedding, prompts, frame size, loading."""
import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, Qwen2_5_VLTextConfig, Qwen3VLTextConfig

import models
from models.checkpoint import rope_of
from models.qwen_vl import FRAME_PIXELS, Qwen3VL, Qwen25VL
from streamassist.types import Frame, Role
from tests.tiny_models import adapter, build, frames, pixel_inputs

KINDS = ["qwen2_5_vl", "qwen3_vl"]
ANSWERED = ("is there a box?", "yes, a red box.")


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """Loading picks bfloat16 on some CPUs; equality is tested in float32."""
    monkeypatch.setattr("models.checkpoint.fast_dtype", lambda device: torch.float32)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def llm(kind):
    return adapter(kind)


def parts(llm, shown, question, history=()):
    """Ids of the whole stream with one question behind the frames, chunk by chunk."""
    chunks, position = [], 0
    for ids in (llm.prompt_ids(), None, llm.question_ids(question, history)):
        if ids is None:
            for tokens in llm.encode(shown):
                chunks.append(llm.frame_chunk(tokens, position))
                position += chunks[-1].span
        else:
            chunks.append(llm.text_chunk(ids, position, Role.TEXT, 0.0))
            position += len(ids)
    return chunks


# ---------------------------------------------------------------- positions

@pytest.mark.parametrize("size", [(56, 84), (140, 56), (112, 112)])
def test_positions_are_those_of_the_stock_model(kind, llm, size):
    shown = frames(3, size)
    chunks = parts(llm, shown, "what is it?")
    ids = torch.cat([c.ids for c in chunks])[None]
    expected, _ = build(kind)[0].model.get_rope_index(
        ids,
        mm_token_type_ids=(ids == llm.image_id).int(),
        image_grid_thw=pixel_inputs(llm, shown)["image_grid_thw"],
    )
    assert torch.equal(torch.cat([c.positions for c in chunks], 1), expected[:, 0])


def test_a_frame_spreads_over_height_and_width(llm):
    """A grid of 2 x 3 at 10, written out; the wrapper tokens take one position each."""
    (tokens,) = llm.encode(frames(1, (56, 84)))
    chunk = llm.frame_chunk(tokens, 10)
    first = 10 + len(tokens.before)
    time, height, width = (chunk.positions[:, chunk.visual_at] - first).tolist()
    assert (time, height, width) == ([0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2])
    assert chunk.positions[:, -1].tolist() == [first + 3] * 3
    assert chunk.span == len(tokens.before) + 3 + 1


def test_survivors_of_dropping_keep_their_places(llm):
    (tokens,) = llm.encode(frames(1, (56, 84)))
    whole = llm.frame_chunk(tokens, 10)
    tokens.places = torch.tensor([1, 5])
    tokens.embeds = tokens.embeds[tokens.places]
    thin = llm.frame_chunk(tokens, 10)
    kept = whole.positions[:, whole.visual_at[tokens.places]]
    assert torch.equal(thin.positions[:, thin.visual_at], kept)
    assert thin.span == whole.span
    assert torch.equal(thin.positions[:, -1], whole.positions[:, -1])


@pytest.mark.parametrize(
    "config, interleaved",
    [
        (Qwen2_5_VLTextConfig, Qwen25VL.mrope_interleaved),
        (Qwen3VLTextConfig, Qwen3VL.mrope_interleaved),
    ],
    ids=KINDS,
)
def test_rope_is_that_of_transformers_at_full_head_size(config, interleaved):
    """128 wide heads and the sections of the published checkpoints."""
    section = [24, 20, 20] if interleaved else [16, 24, 24]
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": section}
    text = config(
        vocab_size=8, hidden_size=256, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, rope_parameters=rope,
    )
    positions = torch.randint(0, 500, (3, 40), generator=torch.Generator().manual_seed(0))
    stock = AutoModel.from_config(text).rotary_emb(torch.zeros(1), positions[:, None])
    ours = rope_of(text, interleaved).cos_sin(positions)
    for mine, theirs in zip(ours, stock, strict=True):
        assert (mine - theirs[0]).abs().max() < 1e-4


# ---------------------------------------------------------------- prompts

@pytest.mark.parametrize("history", [(), (ANSWERED,), (ANSWERED, ANSWERED)])
def test_ids_are_those_of_the_whole_template(llm, history):
    shown = frames(2)
    ids = torch.cat([c.ids for c in parts(llm, shown, "what do you see?", history)])
    pictures = [
        part
        for frame in shown
        for part in ({"type": "text", "text": llm.time_text(frame.pts)}, {"type": "image"})
    ]
    turns = [text for pair in history for text in pair] + ["what do you see?"]
    messages = [{"role": "system", "content": [{"type": "text", "text": llm.system}]}]
    for i, turn in enumerate(turns):
        role = "assistant" if i % 2 else "user"
        messages.append({"role": role, "content": [{"type": "text", "text": turn}]})
    messages[1]["content"][:0] = pictures
    text = llm.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    text = text.replace(llm.image_token, llm.image_token * 6)
    assert ids.tolist() == llm.encode_text(text)


def test_the_question_ends_where_the_answer_starts(llm):
    text = llm.tokenizer.decode(llm.question_ids("why?"))
    assert text == "why?<|im_end|>\n<|im_start|>assistant\n"


def test_control_tokens_typed_by_a_user_are_taken_out(llm):
    ids = llm.question_ids("<|im_end|>a<|image_pad|>")
    assert ids == llm.question_ids("a")
    assert llm.image_id not in ids


def test_yes_and_no_begin_differently(llm):
    branch, yes, no = llm.yes_no_ids("A box is seen.")
    assert branch == llm.question_ids("Is it true now? A box is seen. Answer yes or no.")
    assert yes and no and not set(yes) & set(no)
    assert llm.encode_text("Yes")[0] in yes and llm.encode_text("no")[0] in no


def test_only_qwen3_writes_the_time():
    first, second = adapter("qwen3_vl").encode(frames(2, fps=0.8))
    decode = adapter("qwen3_vl").tokenizer.decode
    assert decode(first.before) == "<0.0 seconds><|vision_start|>"
    assert decode(second.before) == "<1.2 seconds><|vision_start|>"
    (silent,) = adapter("qwen2_5_vl").encode(frames(1))
    assert decode(silent.before) == "<|vision_start|>"
    assert decode(silent.after) == "<|vision_end|>"


# ---------------------------------------------------------------- frames

def test_a_large_frame_is_brought_under_the_budget(llm):
    image = np.zeros((720, 1280, 3), np.uint8)
    (tokens,) = llm.encode([Frame(image, 0.0, 0)])
    _, height, width = tokens.grid
    factor = 2 * llm.model.config.vision_config.patch_size
    assert tokens.embeds.shape[0] == height * width <= llm.tokens_per_frame
    assert height * width * factor**2 > 0.9 * FRAME_PIXELS
    assert width / height == pytest.approx(16 / 9, rel=0.1)


def test_tokens_per_frame_with_the_default_size():
    assert adapter("qwen2_5_vl").tokens_per_frame == 256
    assert adapter("qwen3_vl").tokens_per_frame == 196


def test_deepstack_rows_come_with_every_frame():
    for tokens in adapter("qwen3_vl").encode(frames(2)):
        assert [level.shape for level in tokens.deepstack] == [tokens.embeds.shape] * 3


def test_no_frames_give_no_tokens(llm):
    assert llm.encode([]) == []


# ---------------------------------------------------------------- loading

def test_a_saved_checkpoint_loads_and_answers_alike(kind, llm, tmp_path):
    model, words = build(kind)
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    loaded, reason = models.load(str(tmp_path), device="cpu")
    assert type(loaded) is type(llm) and str(tmp_path) in reason
    assert loaded.question_ids("why?") == llm.question_ids("why?")
    for chunk in parts(llm, frames(1), "why?")[:2]:
        ours, theirs = (m.forward(chunk, m.new_cache()) for m in (loaded, llm))
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_colours_come_from_the_checkpoint(kind, tmp_path):
    model, words = build(kind)
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    loaded, _ = models.load(str(tmp_path), device="cpu")
    assert (loaded.pixels.mean, loaded.pixels.std) == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))


def test_a_template_in_a_file_of_its_own_is_found(kind, llm, tmp_path):
    model, words = build(kind)
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    apart = json.dumps({"chat_template": words.chat_template})
    (tmp_path / "chat_template.json").write_text(apart)
    loaded, _ = models.load(str(tmp_path), device="cpu")
    assert loaded.prompt_ids() == llm.prompt_ids()
