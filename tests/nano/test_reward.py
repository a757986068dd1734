"""Captions rewarded as a whole: what is drawn, what it is worth, and that training follows it."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.nano import reward, train
from models.nano.backbone import FEATURE_DIM
from models.nano.network import NUM_TOKENS, LoRALinear
from tests.nano.test_batches import made
from tests.nano.test_train import folder

__all__ = ["made", "folder"]   # fixtures


@pytest.fixture
def model(folder):
    torch.manual_seed(0)
    return train.TrainModel().eval()


def alone(model, frame, ids: list[int]) -> torch.Tensor:
    """The logits behind opening, one frame and `ids`, all read at once."""
    opening, rest = ids[:2], ids[2:]
    table = model.text.get_input_embeddings().weight
    embeds = torch.cat([table[opening], model.projector(frame[None])[0], table[rest]])[None]
    mask = torch.ones(1, 1, embeds.shape[1], embeds.shape[1], dtype=torch.bool).tril()
    return model.text(inputs_embeds=embeds, attention_mask=mask, use_cache=False).logits[0, -1]


def test_captions_are_drawn_from_what_the_model_says(model, monkeypatch):
    """With the dice taken out, what is drawn is what reading everything at once makes likeliest."""
    frames = torch.randn(3, NUM_TOKENS, FEATURE_DIM)
    monkeypatch.setattr(reward, "draw", lambda chance, dice: chance.argmax(-1, keepdim=True))
    drawn = reward.sample(model, frames, [5, 6], [8, 9], stop=3, seed=0)
    assert [len(group) for group in drawn] == [reward.DRAWS] * 3
    for frame, group in zip(frames, drawn, strict=True):
        ids = [5, 6, 8, 9]
        with torch.no_grad():
            for token in group[0]:
                assert int(alone(model, frame, ids).argmax()) == token
                ids.append(token)
        assert all(other == group[0] for other in group)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    chance = torch.tensor([[0.5, 0.0, 0.3, 0.2]]).repeat(20_000, 1)
    drawn = reward.draw(chance, torch.Generator().manual_seed(0))[:, 0]
    shares = (torch.bincount(drawn, minlength=4) / len(drawn)).tolist()
    assert shares == pytest.approx([0.5, 0.0, 0.3, 0.2], abs=0.02)


def test_merged_weights_give_the_same_and_are_gone_afterwards(model):
    frame = torch.randn(NUM_TOKENS, FEATURE_DIM)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, LoRALinear):
                layer.lora_b.normal_(std=0.05)
        plain = alone(model, frame, [5, 6, 8])
        with reward.merged(model):
            torch.testing.assert_close(alone(model, frame, [5, 6, 8]), plain, atol=1e-4, rtol=0)
            model.text.model.layers[0].mlp.up_proj.lora_b.zero_()
            assert not torch.equal(model.text.model.layers[0].mlp.up_proj.merged,
                                   model.text.model.layers[0].mlp.up_proj.weight)
    assert all(layer.merged is None for layer in model.modules() if isinstance(layer, LoRALinear))


def test_a_drawn_caption_ends_with_its_first_end(model):
    drawn = reward.sample(model, torch.randn(4, NUM_TOKENS, FEATURE_DIM), [5], [8], stop=3, seed=1)
    rows = [ids for group in drawn for ids in group]
    assert all(3 not in ids[:-1] and len(ids) <= reward.MAX_TOKENS for ids in rows)
    assert len({tuple(ids) for ids in rows}) > 4      # drawn, not decided


def test_an_advantage_is_measured_against_the_others_of_the_picture():
    scores = torch.tensor([[1.0, 0.0, 0.5], [2.0, 2.0, 2.0]])
    got = reward.advantages(scores)
    assert torch.equal(got[1], torch.zeros(3))
    assert got[0, 0] > 0 and got[0, 0] == -got[0, 1] and got[0, 2] == 0
    assert float(got.square().mean()) == pytest.approx(1.0)


def test_a_caption_that_does_not_end_is_worth_less(made):
    rewards = reward.Rewards(made)
    ids = made.encode("A dog runs on the grass.")
    texts = [rewards._text(ids), rewards._text(ids + made.silence)]
    whole = rewards.scorer.score_one(0, texts)
    assert whole[1] > whole[0] > 0


def test_likelier_becomes_what_was_rewarded(folder):
    """The mean reward of what is drawn rises on pictures that are seen again and again."""
    trainer = train.Trainer(folder, minutes=60)
    rewards = reward.Rewards(trainer.batches)
    rewards.scorer = SimpleNamespace(score_one=lambda p, texts: np.array(
        [float(" dog" in text) for text in texts]))
    means = []
    for step in range(60):
        trees, frames, mean = rewards.draw(trainer.model, step)
        losses, advantage, _ = train.losses_of(trainer.model, trees, frames)
        trainer.optimizer.zero_grad()
        (losses * advantage).mean().backward()
        trainer.optimizer.step()
        means.append(mean)
    assert np.mean(means[-10:]) > np.mean(means[:10]) + 0.3
