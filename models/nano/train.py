"""Train nano's projector and LoRA: `python -m models.nano.train [--minutes 100]`.

Resumable: a checkpoint is written every few minutes and picked up by the next call; `--minutes` is
the training time in all, `--piece` the most that this call may use. Needs `../shared/data/train`.

First the projector alone learns to name what is there (`words`, a few minutes), then projector and
LoRA learn to answer. One sequence is a tree: the opening words and 1 to 4 frames, then branches
that do not see each other: a question with two captions of the newest frame, and a yes/no question
or a question of the picture's own. A branch costs only its own tokens, and is how the engine asks:
questions branch off the frames.
"""
import argparse
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.nano import prompts
from models.nano.data import FeatureStore, Picture, load_pictures
from models.nano.network import NUM_TOKENS, TOKEN_SIDE, LoRALinear, Projector, lora_sites
from models.nano.questions import YesNoMaker
from models.nano.tree import Tree, collate
from models.nano.weights import OWN_WEIGHTS, cache_dir, sha256_of, text_model_dir
from models.nano.words import warm_up, word_targets
from streamassist.hardware import fast_dtype

BATCH = 16
LR_PROJECTOR, LR_LORA = 5e-4, 1e-3
WORD_EPOCHS, WORD_DROPOUT, DROPOUT = 4, 0.3, 0.3
CAPTIONS_PER_PICTURE = 2
YES_NO_SHARE = 0.3                # of the pictures with human captions
FRAME_COUNTS = (1,) * 12 + (2, 3, 4)
SAME_SCENE = 0.6                  # chance that an earlier frame shows the same picture
VERDICT_WEIGHT = 5.0   # of the one token that says yes or no
VERDICTS = ("Yes.", "No.")
CHECKPOINT_EVERY_S = 180


class TrainModel(nn.Module):
    """The frozen text model with LoRA, and the projector."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__()
        folder, self.device = text_model_dir(), torch.device(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.text = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        ).requires_grad_(False)
        dtype = fast_dtype(self.device)
        for _, parent, name in lora_sites(self.text):
            setattr(parent, name, LoRALinear(getattr(parent, name).to(dtype)))
        self.projector = Projector(self.text.config.hidden_size)
        self.to(self.device)

    def trained_state(self) -> dict[str, Tensor]:
        """The tensors we ship: `projector.*` and `lora.<layer>.<module>.<a|b>`."""
        state = {f"projector.{k}": v for k, v in self.projector.state_dict().items()}
        for i, parent, name in lora_sites(self.text):
            layer = getattr(parent, name)
            state[f"lora.{i}.{name}.a"], state[f"lora.{i}.{name}.b"] = layer.lora_a, layer.lora_b
        return {k: v.detach() for k, v in state.items()}


class Batches:
    """Draws training batches; the draw of step n depends only on n."""

    def __init__(self, model: TrainModel, pictures: list[Picture], features: FeatureStore):
        self.model, self.pictures, self.features = model, pictures, features
        train = [i for i, p in enumerate(pictures) if p.split == "train"]
        self.by_kind = {
            kind: [i for i in train if pictures[i].kind == kind]
            for kind in ("human", "label", "vqa")
        }
        self.yes_no = YesNoMaker([pictures[i].captions for i in self.by_kind["human"]])
        self.open = self.encode(prompts.OPEN)

    def encode(self, text: str) -> list[int]:
        return self.model.tokenizer(text, add_special_tokens=False).input_ids

    def draw(self, step: int) -> tuple[list[Tree], Tensor]:
        """`BATCH` trees, and the features of their frames (F, 16, 1280) tree by tree."""
        rng = random.Random(step)
        trees, frames = [], []
        for _ in range(BATCH):
            kind = rng.choices(("human", "label", "vqa"), (0.88, 0.04, 0.08))[0]
            index, num_frames = rng.choice(self.by_kind[kind]), rng.choice(FRAME_COUNTS)
            frames += self._frames(index, num_frames, rng)
            trees.append(self.tree(self.pictures[index], num_frames, rng))
        return trees, torch.stack(frames)

    def _frames(self, index: int, num_frames: int, rng: random.Random) -> list[Tensor]:
        """Earlier frames (the same scene moved, or another scene), then the asked-about frame."""
        frames = [self.view(index, rng)]
        other = rng.choice(self.by_kind["human"])
        same = rng.random() < SAME_SCENE
        for _ in range(num_frames - 1):
            frames.append(self.view(index if same else other, rng))
            same = same and rng.random() < SAME_SCENE
        return frames[::-1]

    def view(self, index: int, rng: random.Random) -> Tensor:
        """(16, 1280) of one of the two views, perhaps mirrored."""
        view = torch.from_numpy(self.features.views[rng.random() < 0.5][index].astype("float32"))
        if rng.random() < 0.5:
            view = view.view(TOKEN_SIDE, TOKEN_SIDE, -1).flip(1).reshape(NUM_TOKENS, -1)
        return view

    def tree(self, picture: Picture, num_frames: int, rng: random.Random) -> Tree:
        tree = Tree()
        root = tree.add(self.open + [0] * (NUM_TOKENS * num_frames))
        tree.visual = list(range(len(self.open), len(tree.ids)))
        for question, answers in self._branches(picture, rng):
            node = tree.add(self.encode(question + prompts.CLOSE), root)
            for answer in answers:
                weight = VERDICT_WEIGHT if answer in VERDICTS else 1.0
                tree.add(self.encode(answer + prompts.END), node, weight)
        return tree

    def _branches(self, picture: Picture, rng: random.Random) -> list[tuple[str, list[str]]]:
        if picture.kind == "label":
            return [(prompts.NAME_OBJECT, [picture.captions[0].replace("A photo of a", "A")])]
        if picture.kind == "vqa":
            picked = rng.sample(picture.qa, min(3, len(picture.qa)))
            return [(q, [a[:1].upper() + a[1:] + "."]) for q, a in picked]
        count = min(CAPTIONS_PER_PICTURE, len(picture.captions))
        captions = rng.sample(picture.captions, count)
        branches = [(rng.choice(prompts.DESCRIBE_VARIANTS), captions)]
        if rng.random() < YES_NO_SHARE:
            question, answer = self.yes_no.make(picture.captions, rng)
            branches.append((question, [answer]))
        return branches


def loss_of(model: TrainModel, trees: list[Tree], frames: Tensor) -> Tensor:
    """Weighted mean cross-entropy over the answer tokens.

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
    return (losses * batch["weight"]).sum() / batch["weight"].sum()


class Trainer:
    """AdamW with warm-up and a cosine over the training time; saves and resumes."""

    def __init__(self, folder: Path, minutes: float):
        torch.manual_seed(0)
        self.folder, self.total_s = folder, minutes * 60
        self.pictures = load_pictures()
        self.features = FeatureStore(folder.parent / "features", len(self.pictures))
        if not self.features.complete:
            self.features.fill(self.pictures, _report("features"))
        self.model = TrainModel("cuda" if torch.cuda.is_available() else "cpu")
        self.batches = Batches(self.model, self.pictures, self.features)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        lora = [p for n, p in self.model.text.named_parameters() if p.requires_grad]
        groups = [
            {"params": list(self.model.projector.parameters()), "lr": LR_PROJECTOR},
            {"params": lora, "lr": LR_LORA},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
        self.base_lr = [g["lr"] for g in groups]
        self.step, self.elapsed_s, self.average = 0, 0.0, None
        if not self._resume():
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
        return True

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = {
            "trained": [p.data for p in self.trained],
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        torch.save(saved, self.folder / "checkpoint.tmp")
        (self.folder / "checkpoint.tmp").rename(self.folder / "checkpoint.pt")

    def export(self, path: Path) -> None:
        """Write the tensors we ship in bfloat16, and their SHA-256 beside them."""
        state = self.model.trained_state()
        state = {k: v.to("cpu", torch.bfloat16).contiguous() for k, v in state.items()}
        save_file(state, path, metadata={"format": "nano-1", "steps": str(self.step)})
        path.with_suffix(".sha256").write_text(f"{sha256_of(path)}  {path.name}\n")

    def run(self, piece_s: float) -> None:
        started, last_save = time.monotonic(), time.monotonic()
        begin = self.elapsed_s
        while self.elapsed_s < self.total_s and self.elapsed_s - begin < piece_s:
            self._set_rate()
            trees, frames = self.batches.draw(self.step)
            loss = loss_of(self.model, trees, frames)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
            self._note(loss.item())
            self.elapsed_s = begin + time.monotonic() - started
            if time.monotonic() - last_save > CHECKPOINT_EVERY_S:
                self.save()
                last_save = time.monotonic()
        self.save()

    def _set_rate(self) -> None:
        progress = min(1.0, self.elapsed_s / self.total_s)
        warm = min(1.0, (self.step + 1) / 30)
        factor = warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group, base in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = base * factor

    def _note(self, loss: float) -> None:
        self.average = loss if self.average is None else 0.97 * self.average + 0.03 * loss
        self.step += 1
        if self.step % 10 == 0:
            line = {"step": self.step, "minutes": round(self.elapsed_s / 60, 1),
                    "of": round(self.total_s / 60, 1), "loss": round(self.average, 3)}
            print(json.dumps(line), flush=True)


def _report(what: str):
    def report(done: int, total: int) -> None:
        if done % 512 < 16 or done == total:
            print(json.dumps({what: done, "of": total}), flush=True)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=100, help="training time in all")
    parser.add_argument("--piece", type=float, default=100, help="most minutes of this call")
    parser.add_argument("--out", type=Path, default=OWN_WEIGHTS)
    parser.add_argument("--fresh", action="store_true", help="forget the checkpoint")
    args = parser.parse_args()
    folder = cache_dir() / "nano" / "train"
    if args.fresh:
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    trainer = Trainer(folder, args.minutes)
    trainer.run(args.piece * 60)
    trainer.export(args.out)
    print(json.dumps({"exported": str(args.out), "steps": trainer.step}), flush=True)


if __name__ == "__main__":
    main()
