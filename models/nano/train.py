"""Train nano's projector and LoRA: `python -m models.nano.train [--minutes 100]`.

Resumable: a checkpoint is written every few minutes and picked up by the next call; `--minutes` is
the training time in all, `--piece` the most that this call may use. Needs `../shared/data/train`.

First the projector alone learns to name what is there (`words`), then projector and LoRA learn to
answer, at last with captions rewarded as a whole (`reward`). One sequence is a tree: the opening
words and 1 to 8 frames, then branches that do not see each other: a question with captions, short
questions made from them by rule, and of a stream of pictures what was there before (`batches`). A
branch costs only its own tokens, and is how the engine asks: questions branch off the frames. The
flag learns, from the hidden state of each frame's last token, whether the frame brings news.
"""
import argparse
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.nano.backbone import INPUT_SIZE
from models.nano.batches import Batches
from models.nano.data import FeatureStore, features_folder, load_pictures
from models.nano.network import MOST_FRAMES, LoRALinear, Projector, lora_sites
from models.nano.reward import Rewards
from models.nano.rounding import packed, unpacked
from models.nano.tree import Tree, collate
from models.nano.weights import OWN_WEIGHTS, cache_dir, sha256_of, text_model_dir
from models.nano.words import warm_up, word_targets
from streamassist.hardware import fast_dtype

LR_PROJECTOR, LR_LORA = 5e-4, 7e-4
WORD_EPOCHS, WORD_DROPOUT, DROPOUT = 3, 0.3, 0.3
NEWS_WEIGHT = 0.1                 # of the flag's loss
REWARD_FROM, REWARD_RATE = 0.5, 0.3   # of the training time; of the learning rates
REWARD_BATCH = 8                  # trees of other questions beside the rewarded captions
RESTART = 0.5                     # of the learning rates, when trained tensors are gone on from
CHECKPOINT_EVERY_S = 180


class TrainModel(nn.Module):
    """The frozen text model with LoRA, and the projector."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__()
        folder, self.device = text_model_dir(), torch.device(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.text = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="tree"
        ).requires_grad_(False)
        dtype = fast_dtype(self.device)
        for _, parent, name in lora_sites(self.text):
            setattr(parent, name, LoRALinear(getattr(parent, name).to(dtype)))
        self.projector = Projector(self.text.config.hidden_size)
        self.flag = nn.Linear(self.text.config.hidden_size, 1)
        self.to(self.device)

    def trained_state(self) -> dict[str, Tensor]:
        """The tensors we ship: `projector.*`, `flag.*` and `lora.<layer>.<module>.<a|b>`."""
        state = {f"projector.{k}": v for k, v in self.projector.state_dict().items()}
        state |= {f"flag.{k}": v for k, v in self.flag.state_dict().items()}
        for i, parent, name in lora_sites(self.text):
            layer = getattr(parent, name)
            state[f"lora.{i}.{name}.a"], state[f"lora.{i}.{name}.b"] = layer.lora_a, layer.lora_b
        return {k: v.detach() for k, v in state.items()}

    def load_trained(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` has of `trained_state`; older weights have no flag."""
        with torch.no_grad():
            for name, mine in self.trained_state().items():
                if name in state or not name.startswith("flag."):
                    mine.copy_(state[name])


def losses_of(
    model: TrainModel, trees: list[Tree], frames: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(cross-entropy of every learnt token (M,), their weights (M,), the flag's loss).

    frames: (number of frames in all trees, 16, 1280), tree by tree.
    """
    batch = {name: value.to(model.device) for name, value in collate(trees).items()}
    embeds = model.text.get_input_embeddings()(batch["ids"])
    visual = model.projector(frames.to(model.device)).flatten(0, 1).to(embeds.dtype)
    embeds = embeds.index_put(batch["visual"].unbind(1), visual)
    hidden = model.text.model(
        inputs_embeds=embeds,
        position_ids=batch["position"],
        attention_mask=batch["mask"],
        use_cache=False,
    ).last_hidden_state
    row, column, target = batch["learn"].unbind(1)
    losses = F.cross_entropy(model.text.lm_head(hidden[row, column]), target, reduction="none")
    news = losses.new_zeros(())
    if len(batch["news"]):
        row, column, new = batch["news"].unbind(1)
        said = model.flag(hidden[row, column])[:, 0]
        news = F.binary_cross_entropy_with_logits(said, new.float())
    return losses, batch["weight"], news


def loss_of(model: TrainModel, trees: list[Tree], frames: Tensor) -> Tensor:
    """Weighted mean cross-entropy over the answer tokens, and a share of the flag's."""
    losses, weight, news = losses_of(model, trees, frames)
    return (losses * weight).sum() / weight.sum() + NEWS_WEIGHT * news


class Trainer:
    """AdamW with warm-up and a cosine over the training time; saves and resumes."""

    def __init__(self, folder: Path, minutes: float, start: Path | None = None):
        torch.manual_seed(0)
        self.folder, self.total_s = folder, minutes * 60
        self.pictures = load_pictures()
        self.features = FeatureStore(features_folder(), len(self.pictures))
        if not self.features.complete:
            self.features.fill(self.pictures, _report)
        self.model = TrainModel("cuda" if torch.cuda.is_available() else "cpu")
        self.batches = Batches(self.model.tokenizer, self.pictures, self.features)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        lora = [p for n, p in self.model.text.named_parameters() if p.requires_grad]
        groups = [
            {"params": [*self.model.projector.parameters(), *self.model.flag.parameters()],
             "lr": LR_PROJECTOR},
            {"params": lora, "lr": LR_LORA},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
        self.base_lr = [g["lr"] * (RESTART if start else 1.0) for g in groups]
        self.step, self.elapsed_s = 0, 0.0
        self.averages: dict[str, float] = {}
        self.rewards: Rewards | None = None
        if not self._resume():
            if start:
                self.model.load_trained(unpacked(load_file(start)))
            else:
                self._name_words()
        self.model.projector.drop.p = DROPOUT

    def _name_words(self) -> None:
        """The projector's warm start; it counts as training time."""
        started, human = time.monotonic(), self.batches.by_kind["human"]
        captions = [self.pictures[i].captions for i in human]
        tokens, targets = word_targets(captions, self._token_of)
        embeddings = self.model.text.get_input_embeddings().weight[tokens.to(self.model.device)]
        self.model.projector.drop.p = WORD_DROPOUT

        def features(places: Sequence[int], rng: random.Random) -> Tensor:
            return torch.stack([self.batches.view(human[i], rng) for i in places])

        warm_up(self.model.projector, embeddings, targets, features, WORD_EPOCHS,
                lambda line: print(json.dumps(line), flush=True))
        self.elapsed_s = time.monotonic() - started

    def _token_of(self, word: str) -> int | None:
        ids = self.batches.encode(" " + word)
        return ids[0] if len(ids) == 1 else None

    def _resume(self) -> bool:
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return False
        saved = torch.load(file, map_location=self.model.device, weights_only=True)
        for parameter, value in zip(self.trained, saved["trained"], strict=True):
            parameter.data.copy_(value)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.elapsed_s = saved["step"], saved["elapsed_s"]
        self.base_lr = saved["base_lr"]   # other ones where tensors were gone on from
        return True

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        names = ("step", "elapsed_s", "base_lr")
        saved = {name: getattr(self, name) for name in names} | {
            "trained": [p.data for p in self.trained], "optimizer": self.optimizer.state_dict(),
        }
        torch.save(saved, self.folder / "checkpoint.tmp")
        (self.folder / "checkpoint.tmp").rename(self.folder / "checkpoint.pt")

    def export(self, path: Path) -> None:
        """Write the tensors we ship, matrices in 8 bits, and their SHA-256 beside them."""
        state = packed({k: v.cpu() for k, v in self.model.trained_state().items()})
        state["input_size"] = torch.tensor(INPUT_SIZE)
        state["frames_at_once"] = torch.tensor(MOST_FRAMES)
        save_file(state, path, metadata={"format": "nano-1", "steps": str(self.step)})
        path.with_suffix(".sha256").write_text(f"{sha256_of(path)}  {path.name}\n")

    def run(self, piece_s: float) -> None:
        started, last_save = time.monotonic(), time.monotonic()
        begin = self.elapsed_s
        while self.elapsed_s < self.total_s and self.elapsed_s - begin < piece_s:
            self._set_rate()
            self.optimizer.zero_grad()
            noted = self._learn() if self._progress < REWARD_FROM else self._learn_by_reward()
            nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
            self._note(noted)
            self.elapsed_s = begin + time.monotonic() - started
            if time.monotonic() - last_save > CHECKPOINT_EVERY_S:
                self.save()
                last_save = time.monotonic()
        self.save()

    @property
    def _progress(self) -> float:
        return min(1.0, self.elapsed_s / self.total_s)

    def _learn(self) -> dict[str, float]:
        loss = loss_of(self.model, *self.batches.draw(self.step))
        loss.backward()
        return {"loss": loss.item()}

    def _learn_by_reward(self) -> dict[str, float]:
        """Captions by reward; the other questions, fewer, as before."""
        self.model.projector.drop.p = 0.0   # the captions are judged as the model gives them
        self.rewards = self.rewards or Rewards(self.batches)
        trees, frames, reward = self.rewards.draw(self.model, self.step)
        losses, advantage, _ = losses_of(self.model, trees, frames)
        (losses * advantage).mean().backward()
        others = loss_of(self.model, *self.batches.draw(self.step, REWARD_BATCH, describe=False))
        others.backward()
        return {"others": others.item(), "reward": reward}

    def _set_rate(self) -> None:
        warm = min(1.0, (self.step + 1) / 30)
        done = self._progress / REWARD_FROM
        if done < 1:
            factor = warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        else:
            factor = REWARD_RATE * (1 - 0.8 * (done - 1) / (1 / REWARD_FROM - 1))
        for group, base in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = base * factor

    def _note(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.averages[name] = 0.97 * self.averages.get(name, value) + 0.03 * value
        self.step += 1
        if self.step % 10 == 0:
            line = {"step": self.step, "minutes": round(self.elapsed_s / 60, 1),
                    "of": round(self.total_s / 60, 1)}
            line |= {name: round(self.averages[name], 3) for name in values}
            print(json.dumps(line), flush=True)


def _report(done: int, total: int) -> None:
    if done % 512 < 16 or done == total:
        print(json.dumps({"features": done, "of": total}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=("all", "words"), default="all",
                        help="words: only the projector's warm start, which all begins with")
    parser.add_argument("--minutes", type=float, default=100, help="training time in all")
    parser.add_argument("--piece", type=float, default=100, help="most minutes of this call")
    parser.add_argument("--out", type=Path, default=OWN_WEIGHTS)
    parser.add_argument("--start", type=Path, help="trained tensors to go on from")
    parser.add_argument("--fresh", action="store_true", help="forget the checkpoint")
    args = parser.parse_args()
    folder = cache_dir() / "nano" / "train"
    if args.fresh:
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    if args.start and (folder / "checkpoint.pt").exists():
        parser.error(f"{folder} holds a checkpoint, from which training goes on; "
                     "leave --start out, or forget it with --fresh")
    trainer = Trainer(folder, args.minutes, args.start)
    if args.stage == "words":   # kept for the next call; not yet a model to be used
        trainer.save()
        return
    trainer.run(args.piece * 60)
    trainer.export(args.out)
    print(json.dumps({"exported": str(args.out), "steps": trainer.step}), flush=True)


if __name__ == "__main__":
    main()
