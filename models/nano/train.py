"""Train nano's projector and LoRA: `python -m models.nano.train [--minutes 100]`.

Resumable: a checkpoint is written every few minutes and picked up by the next call; `--minutes` is
the training time in all, `--piece` the most that this call may use. Needs `../shared/data/train`.

One sequence is a tree: the opening words and 1 to 6 frames, then branches that do not see each
other: a question with several captions of the newest frame, and a yes/no question or a question of
the picture's own. A branch costs only its own tokens, which makes CPU training about twice as
fast as one caption per sequence, and is how the engine asks: questions branch off the frames.
"""
import argparse
import json
import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.nano import prompts
from models.nano.data import FeatureStore, Picture, load_pictures
from models.nano.network import (
    NUM_TOKENS,
    TOKEN_SIDE,
    LoRALinear,
    Projector,
    lora_sites,
)
from models.nano.questions import YesNoMaker
from models.nano.weights import OWN_WEIGHTS, cache_dir, sha256_of, text_model_dir
from streamassist.hardware import fast_dtype

BATCH = 16
LR_PROJECTOR, LR_LORA = 1e-3, 4e-4
CAPTIONS_PER_PICTURE = 3
FRAME_COUNTS = (1, 1, 1, 1, 1, 2, 3, 4)   # drawn per step
SAME_SCENE = 0.6                          # chance that an earlier frame shows the same picture
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
        self.projector = Projector()
        self.to(self.device)

    def trained_state(self) -> dict[str, Tensor]:
        """The tensors we ship: `projector.*` and `lora.<layer>.<module>.<a|b>`."""
        state = {f"projector.{k}": v for k, v in self.projector.state_dict().items()}
        for i, parent, name in lora_sites(self.text):
            layer = getattr(parent, name)
            state[f"lora.{i}.{name}.a"], state[f"lora.{i}.{name}.b"] = layer.lora_a, layer.lora_b
        return {k: v.detach() for k, v in state.items()}


@dataclass
class Tree:
    """Token ids in branches; `learn`: (index of the predicting token, its target, weight)."""

    ids: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    learn: list[tuple[int, int, float]] = field(default_factory=list)
    ancestors: list[set[int]] = field(default_factory=list)
    last: list[int] = field(default_factory=list)   # index of each branch's last token

    def add(self, ids: list[int], parent: int | None = None, learn: float = 0.0) -> int:
        """Append a branch behind `parent` and return its number.

        A branch is learnt when `learn`, the weight of its first token, is not 0; that token is
        predicted by the parent's last one, which siblings share.
        """
        number, start = len(self.ancestors), len(self.ids)
        before = -1 if parent is None else self.last[parent]
        first = 0 if parent is None else self.position[before] + 1
        self.ancestors.append({number} | (set() if parent is None else self.ancestors[parent]))
        self.ids += ids
        self.branch += [number] * len(ids)
        self.position += range(first, first + len(ids))
        self.last.append(start + len(ids) - 1)
        if learn:
            weights = [learn] + [1.0] * (len(ids) - 1)
            self.learn += zip([before, *range(start, self.last[-1])], ids, weights, strict=True)
        return number


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
        """`BATCH` trees and their frame features (BATCH, num_frames * 16, 1280)."""
        rng = random.Random(step)
        num_frames = rng.choice(FRAME_COUNTS)
        trees, frames = [], []
        for _ in range(BATCH):
            kind = rng.choices(("human", "label", "vqa"), (0.88, 0.04, 0.08))[0]
            index = rng.choice(self.by_kind[kind])
            frames.append(self._frames(index, num_frames, rng))
            trees.append(self.tree(self.pictures[index], num_frames, rng))
        return trees, torch.stack(frames)

    def _frames(self, index: int, num_frames: int, rng: random.Random) -> Tensor:
        """Earlier frames (the same scene moved, or another scene), then the asked-about frame."""
        frames = [self._view(index, rng)]
        other = rng.choice(self.by_kind["human"])
        same = rng.random() < SAME_SCENE
        for _ in range(num_frames - 1):
            frames.append(self._view(index if same else other, rng))
            same = same and rng.random() < SAME_SCENE
        return torch.cat(frames[::-1])

    def _view(self, index: int, rng: random.Random) -> Tensor:
        view = torch.from_numpy(self.features.views[rng.random() < 0.5][index].astype("float32"))
        if rng.random() < 0.5:
            view = view.view(TOKEN_SIDE, TOKEN_SIDE, -1).flip(1).reshape(NUM_TOKENS, -1)
        return view

    def tree(self, picture: Picture, num_frames: int, rng: random.Random) -> Tree:
        tree = Tree()
        root = tree.add(self.open + [0] * (NUM_TOKENS * num_frames))
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
        question, answer = self.yes_no.make(picture.captions, rng)
        return [(rng.choice(prompts.DESCRIBE_VARIANTS), captions), (question, [answer])]


def collate(trees: list[Tree]) -> dict[str, Tensor]:
    """Pad to the longest tree.

    `ids`, `position` (B, T); `mask` (B, 1, T, T), True where a token may look; `learn` (M, 3) rows
    of (tree, index of the predicting token, token to predict); `weight` (M,).
    """
    size = max(len(t.ids) for t in trees)
    ids, position = torch.zeros(2, len(trees), size, dtype=torch.long)
    mask = torch.eye(size, dtype=torch.bool).repeat(len(trees), 1, 1)
    causal = torch.ones(size, size, dtype=torch.bool).tril()
    learn = []
    for b, t in enumerate(trees):
        n, branch = len(t.ids), torch.tensor(t.branch)
        ids[b, :n], position[b, :n] = torch.tensor(t.ids), torch.tensor(t.position)
        sees = torch.tensor([[j in a for j in range(len(t.ancestors))] for a in t.ancestors])
        mask[b, :n, :n] = sees[branch][:, branch] & causal[:n, :n]
        learn += [(b, index, target) for index, target, _ in t.learn]
    weight = torch.tensor([w for t in trees for _, _, w in t.learn])
    learn = torch.tensor(learn)
    return {
        "ids": ids, "position": position, "mask": mask[:, None], "learn": learn, "weight": weight
    }


def loss_of(model: TrainModel, trees: list[Tree], frames: Tensor) -> Tensor:
    """Weighted mean cross-entropy over the answer tokens."""
    batch = {name: value.to(model.device) for name, value in collate(trees).items()}
    frames = frames.to(model.device)
    embeds = model.text.get_input_embeddings()(batch["ids"])
    num_open = len(model.tokenizer(prompts.OPEN, add_special_tokens=False).input_ids)
    num_visual = frames.shape[1]
    visual = model.projector(frames.view(-1, NUM_TOKENS, frames.shape[-1]))
    visual = visual.view(len(trees), num_visual, -1).to(embeds.dtype)
    embeds = torch.cat(
        [embeds[:, :num_open], visual, embeds[:, num_open + num_visual :]], dim=1
    )
    hidden = model.text.model(
        inputs_embeds=embeds,
        position_ids=batch["position"],
        attention_mask=batch["mask"],
        use_cache=False,
    ).last_hidden_state
    tree, index, target = batch["learn"].unbind(1)
    losses = F.cross_entropy(model.text.lm_head(hidden[tree, index]), target, reduction="none")
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
        self._resume()

    def _resume(self) -> None:
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return
        saved = torch.load(file, map_location=self.model.device, weights_only=True)
        for parameter, value in zip(self.trained, saved["trained"], strict=True):
            parameter.data.copy_(value)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.elapsed_s = saved["step"], saved["elapsed_s"]

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
    if trainer.elapsed_s >= trainer.total_s:
        from models.nano.calibrate import calibrate  # loads the model a second time: only now

        print(json.dumps({"calibrated": calibrate(args.out)}), flush=True)


if __name__ == "__main__":
    main()
