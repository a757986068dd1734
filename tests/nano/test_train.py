"""Training on a tiny text model: it learns, stops and goes on, and ships what the adapter loads."""
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.nano import adapter, reward, train
from models.nano.backbone import FEATURE_DIM, INPUT_SIZE
from models.nano.data import FeatureStore
from models.nano.network import MOST_FRAMES, NUM_TOKENS
from models.nano.weights import sha256_of
from tests.nano.test_batches import PICTURES
from tests.tiny_models import tokenizer
from tests.tiny_nano import text_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A tiny text model and features of seven made-up pictures, in place of the real ones."""
    text = tmp_path / "text"
    text_model().save_pretrained(text)
    tokenizer("qwen").save_pretrained(text)
    monkeypatch.setattr(train, "text_model_dir", lambda: text)
    monkeypatch.setattr(train, "load_pictures", lambda: PICTURES)
    monkeypatch.setattr(train, "features_folder", lambda: tmp_path / "features")
    for module in (train, reward):
        monkeypatch.setattr(module, "fast_dtype", lambda device: torch.float32)
    monkeypatch.setattr(train.Trainer, "_name_words", lambda self: None)   # see test_words
    monkeypatch.setattr(train, "LR_PROJECTOR", 3e-3)
    monkeypatch.setattr(train, "LR_LORA", 3e-3)
    store = FeatureStore(tmp_path / "features", len(PICTURES))
    for view in store.views:
        view[:] = np.random.default_rng(0).normal(size=(len(PICTURES), NUM_TOKENS, FEATURE_DIM))
        view.flush()
    (store.folder / "complete").write_text("")
    return tmp_path / "train"


def loss(trainer: train.Trainer) -> float:
    with torch.no_grad():
        return float(train.loss_of(trainer.model.eval(), *trainer.batches.draw(10_000)))


def test_it_learns_and_goes_on_where_it_stopped(folder):
    trainer = train.Trainer(folder, minutes=1)
    before = loss(trainer)
    trainer.model.train()
    while trainer.step < 12:
        trainer.run(piece_s=0.1)
    after, steps = loss(trainer), trainer.step
    assert after < before - 0.5
    again = train.Trainer(folder, minutes=1)
    assert (again.step, again.elapsed_s) == (steps, trainer.elapsed_s)
    assert loss(again) == pytest.approx(after, abs=1e-4)


def test_the_last_part_rewards_captions_and_goes_on_after_a_stop(folder, capsys):
    trainer = train.Trainer(folder, minutes=1)
    trainer.elapsed_s = 60 * (train.REWARD_FROM + 0.01)
    while trainer.step < 12:
        trainer.run(piece_s=0.1)
    assert '"reward"' in capsys.readouterr().out and "loss" not in trainer.averages
    assert train.Trainer(folder, minutes=1).step == trainer.step


def test_what_it_exports_is_what_the_adapter_reads(folder, tmp_path):
    trainer = train.Trainer(folder, minutes=1)
    trainer.run(piece_s=0.1)
    file = tmp_path / "nano.safetensors"
    trainer.export(file)
    assert file.with_suffix(".sha256").read_text().startswith(sha256_of(file))
    state, model = adapter.load_own_weights(file), text_model()
    adapter.merge_lora(model, state)
    adapter.make_projector(state, model.config.hidden_size)
    assert adapter.make_flag(state, model).weight.shape == (1, model.config.hidden_size)
    assert (int(state["input_size"]), int(state["frames_at_once"])) == (INPUT_SIZE, MOST_FRAMES)


def test_it_can_start_from_shipped_weights(folder, tmp_path):
    trainer = train.Trainer(folder, minutes=1)
    with torch.no_grad():
        trainer.model.projector.gain.fill_(0.5)
    trainer.export(tmp_path / "one.safetensors")
    other = train.Trainer(tmp_path / "other", 1, tmp_path / "one.safetensors")
    assert float(other.model.projector.gain.detach()) == 0.5
    assert load_file(tmp_path / "one.safetensors")["lora.0.q_proj.a"].shape[0] == 16


def test_the_words_stage_writes_no_model_and_a_checkpoint_is_not_passed_over(
    folder, monkeypatch, capsys
):
    monkeypatch.setattr(train, "cache_dir", lambda: folder.parent / "cache")
    out = folder.parent / "out.safetensors"
    monkeypatch.setattr("sys.argv", ["train", "--stage", "words", "--out", str(out)])
    train.main()
    assert not out.exists() and (folder.parent / "cache/nano/train/checkpoint.pt").exists()
    monkeypatch.setattr("sys.argv", ["train", "--start", str(out)])
    with pytest.raises(SystemExit):
        train.main()
    assert "--fresh" in capsys.readouterr().err
