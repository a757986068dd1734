"""nano at run time: pixels, words and weights as in training; its describe command."""
import json
import math
import os
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from models.fake import ANSWER, END, ID, VOCAB_SIZE, FakeLLM
from models.nano import prompts
from models.nano.adapter import Nano, load_own_weights, merge_lora, squash
from models.nano.data import squash as squash_by_pillow
from models.nano.describe import append, describe, describe_files, main, prefill, read_picture
from models.nano.network import NUM_TOKENS, LoRALinear, lora_sites
from models.nano.weights import OWN_WEIGHTS, sha256_of, text_model_dir
from models.packed import pack_linears
from models.probing import yes_to_question
from streamassist.errors import StreamAssistError
from streamassist.types import Frame, Role
from tests.tiny_nano import DIM, Recorder, build, frames, picture, random_state, text_model

GREY_LEVEL = 1 / 128   # of the backbone's input range


@pytest.fixture(scope="module")
def nano():
    return build()[0]


# ---------------------------------------------------------------- pixels

@pytest.mark.parametrize("size", [(480, 640), (97, 223), (224, 224), (1080, 1920)])
def test_frames_are_resized_as_in_training(size):
    image = picture(0, *size)
    expected = squash_by_pillow(Image.fromarray(image))
    mine = squash(image, torch.device("cpu"))[0]
    assert (mine - expected).abs().max() <= GREY_LEVEL + 1e-6
    assert (mine - expected).abs().mean() < 0.05 * GREY_LEVEL


def test_read_only_and_mirrored_frames_are_taken(nano):
    image = picture(0)
    image.setflags(write=False)
    plain, mirrored = nano.encode([Frame(image, 0.0, 0), Frame(image[:, ::-1], 0.5, 1)])
    assert plain.embeds.shape == (NUM_TOKENS, nano.model.config.hidden_size)
    assert plain.grid == (1, 4, 4) and (mirrored.pts, mirrored.frame) == (0.5, 1)
    assert (plain.embeds - mirrored.embeds).std() > 0.1 * plain.embeds.std()


def test_frames_together_equal_frames_alone(nano):
    together = nano.encode(frames(3))
    alone = [nano.encode([frame])[0] for frame in frames(3)]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.embeds, b.embeds, atol=1e-5, rtol=0)
    assert nano.encode([]) == []


# ---------------------------------------------------------------- words

def test_the_words_are_those_of_training(nano):
    """As `train.Batches.tree` builds its sequences: opening, frames, question with its close."""
    encode = nano.encode_text
    run = Recorder(nano)
    run.text(nano.prompt_ids(), Role.PROMPT)
    for frame in frames(2):
        run.frame(frame)
    assert nano.prompt_ids() == encode(prompts.OPEN)
    opening = len(encode(prompts.OPEN))
    assert torch.cat(run.positions).tolist() == list(range(opening + 2 * NUM_TOKENS))
    asked = encode("What is it?" + prompts.CLOSE)
    assert nano.question_ids("What is it?") == asked
    assert nano.question_ids("What is it?", [("Who?", "A man.")]) == asked
    branch, _, _ = nano.yes_no_ids("a dog runs")
    assert branch == encode(prompts.yes_no("a dog runs") + prompts.CLOSE)
    assert set(encode(prompts.END)) <= nano.stop_ids


def test_the_flag_reads_the_last_row_of_a_frame():
    nano, stock = build()
    assert nano.p_silence is None          # weights without a flag
    nano.flag = torch.nn.Linear(DIM, 1)
    assert nano.p_silence == 1.0           # before any frame
    run = Recorder(nano)
    run.text(nano.prompt_ids(), Role.PROMPT)
    for frame in frames(2):
        run.frame(frame)
        said = nano.p_silence
    with torch.no_grad():
        hidden = stock.model(inputs_embeds=torch.cat(run.embeds)[None]).last_hidden_state[0, -1]
        expected = torch.sigmoid(-nano.flag(hidden)).item()
    assert said == pytest.approx(expected, abs=1e-4)


def test_yes_to_a_question_is_read_off_the_first_word_of_its_answer(nano):
    cache = prefill(nano, [picture(0), picture(1)])
    size, question = cache.size, "Did a dog appear earlier?"
    chance = yes_to_question(nano, question, cache, 0.0)
    cache.truncate(size)
    logits = append(nano, cache, nano.question_ids(question))
    _, yes, no = nano.yes_no_ids("")
    share = logits[yes].exp().sum() / (logits[yes].exp().sum() + logits[no].exp().sum())
    assert chance == pytest.approx(float(share), abs=1e-5)


# ---------------------------------------------------------------- weights

def test_merged_lora_equals_lora_beside_the_weight():
    model = text_model()
    state = random_state(model)
    beside = with_lora(deepcopy(model), state)
    merge_lora(model, state)
    ids = torch.arange(40)[None] % 500
    with torch.no_grad():
        expected = beside(ids).logits
        torch.testing.assert_close(model(ids).logits, expected, atol=1e-4, rtol=0)
        assert (text_model()(ids).logits - expected).abs().max() > 0.1


def with_lora(model, state):
    """The same correction in the form training uses."""
    for layer, parent, name in lora_sites(model):
        corrected = LoRALinear(getattr(parent, name))
        corrected.lora_a.data = state[f"lora.{layer}.{name}.a"]
        corrected.lora_b.data = state[f"lora.{layer}.{name}.b"]
        setattr(parent, name, corrected)
    return model


def test_weights_are_loaded_only_with_the_recorded_hash(tmp_path):
    file = tmp_path / "nano.safetensors"
    with pytest.raises(StreamAssistError, match="is missing"):
        load_own_weights(file)
    save_file({"x": torch.arange(4.0)}, file)
    with pytest.raises(StreamAssistError, match=r"nano\.sha256 is missing"):
        load_own_weights(file)
    file.with_suffix(".sha256").write_text(f"{sha256_of(file)}  {file.name}\n")
    assert load_own_weights(file)["x"].tolist() == [0, 1, 2, 3]
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(StreamAssistError, match="does not have the SHA-256"):
        load_own_weights(file)


def test_lacking_tensors_are_named():
    state = random_state(text_model())
    del state["lora.1.q_proj.a"]
    with pytest.raises(StreamAssistError, match=r"lora\.1\.q_proj\.a"):
        merge_lora(text_model(), state)


def test_the_packaged_text_model_streams_as_in_one_pass(monkeypatch):
    """Real SmolLM2 and EfficientNet with the shipped projector and LoRA, against the stock model
    with the same weights in the same layout: only streaming differs."""
    stock = AutoModelForCausalLM.from_pretrained(text_model_dir(), dtype=torch.float32).eval()
    monkeypatch.setattr("models.checkpoint.fast_dtype", lambda device: torch.float32)
    nano = Nano.load(decode=False)
    run = Recorder(nano)
    run.text(nano.prompt_ids(), Role.PROMPT)
    for frame in frames(3):
        run.frame(frame)
    run.text(nano.question_ids(nano.describe_prompt))
    run.text(nano.encode_text("A"))
    merge_lora(stock, load_own_weights(OWN_WEIGHTS))
    pack_linears(stock)
    expected = run.one_shot(stock)
    assert expected.std() > 0.5
    torch.testing.assert_close(torch.stack(run.logits), expected, atol=1e-4, rtol=0)


def test_the_trained_weights_describe_pictures_apart(tmp_path, capsys):
    if not OWN_WEIGHTS.exists():
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing(f"{OWN_WEIGHTS} is not there; train it: python -m models.nano.train")
    sky = np.full((120, 160, 3), (90, 150, 240), np.uint8)
    for name, image in (("sky.png", sky), ("noise.png", picture(1))):
        Image.fromarray(image).save(tmp_path / name)
    assert main([str(tmp_path / "sky.png"), str(tmp_path / "noise.png")]) == 0
    texts = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert len(set(texts)) == 2 and all(len(text.split()) >= 3 for text in texts)


# ---------------------------------------------------------------- describe

def test_unreadable_files_are_named_and_the_others_described(nano, tmp_path, capsys):
    good, corrupt, empty, absent = (
        str(tmp_path / name) for name in ("good.png", "corrupt.jpg", "empty.png", "absent.jpg")
    )
    Image.fromarray(picture(0)).save(good)
    Image.fromarray(picture(0)).save(corrupt)
    with open(corrupt, "r+b") as file:
        file.truncate(600)
    open(empty, "wb").close()
    assert describe_files(nano, [absent, corrupt, empty, good]) == 2
    out, err = capsys.readouterr()
    assert [json.loads(line)["file"] for line in out.splitlines()] == [good]
    sentences = err.splitlines()
    assert [s.split()[0] for s in sentences] == [absent, corrupt, empty]
    assert all(s.endswith(".") for s in sentences)
    assert describe_files(nano, [good]) == 0


def test_pictures_of_every_mode_are_read_upright(tmp_path):
    wide = Image.new("RGB", (30, 10), (200, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6   # "rotate by 90 degrees to show"
    wide.save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(str(tmp_path / "turned.jpg")).shape == (30, 10, 3)
    for mode in ("L", "RGBA", "P", "CMYK"):
        file = str(tmp_path / f"{mode}.tiff")
        wide.convert(mode).save(file)
        assert read_picture(file).shape == (10, 30, 3)


def test_greedy_takes_the_likeliest_token_each_time(nano):
    image = picture(4)
    run = Recorder(nano)
    run.text(nano.prompt_ids(), Role.PROMPT)
    run.frame(Frame(image, 0.0, 0))
    logits, ids = run.text(nano.question_ids(nano.describe_prompt)), []
    while len(ids) < 40 and int(logits.argmax()) not in nano.stop_ids:
        ids.append(int(logits.argmax()))
        logits = run.text(ids[-1:])
    assert describe(nano, image) == nano.detokenize(ids).strip()


class Fork(FakeLLM):
    """"a" is likelier than "b", but "b" ends surely and "a" goes on unsurely."""

    tree = {"": {"a": 0.6, "b": 0.4}, "a": {"c": 0.3, "d": 0.3, "e": 0.4}}

    def forward(self, chunk, cache):
        super().forward(chunk, cache)
        ids = cache.value[0, 0, : cache.size, ID].int().tolist()
        said = self.detokenize(ids[ids.index(ANSWER) + 1 :]) if ANSWER in ids else ""
        logits = torch.full((VOCAB_SIZE,), -50.0)
        for letter, chance in self.tree.get(said, {}).items():
            logits[ord(letter)] = math.log(chance)
        if said not in self.tree:
            logits[END] = 0.0
        return logits


def test_a_beam_finds_the_likelier_whole():
    assert describe(Fork(), picture(0)) == "ae"
    assert describe(Fork(), picture(0), beam=2) == "b"


@pytest.mark.parametrize("width", ["0", "many", "99"])
def test_a_senseless_beam_is_refused(width, capsys):
    with pytest.raises(SystemExit) as error:
        main(["x.jpg", "--beam", width])
    assert error.value.code == 2 and "--beam" in capsys.readouterr().err
