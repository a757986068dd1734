"""Which model: `load(spec)` makes a VideoLLM of what the user typed and says why this one."""
import json
import logging
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from streamassist.errors import StreamAssistError

if TYPE_CHECKING:
    import torch

    from streamassist.types import VideoLLM

log = logging.getLogger(__name__)

ADAPTERS = {   # model_type of config.json -> module, class
    "smolvlm": ("models.smolvlm", "SmolVLM"),
    "qwen2_5_vl": ("models.qwen_vl", "Qwen25VL"),
    "qwen3_vl": ("models.qwen_vl", "Qwen3VL"),
}
WANTED_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt"]
SHRINK = {"none": 1.0, "int8": 0.55, "nf4": 0.35}   # of the weights, against 16 bits
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint; `gib`: 16-bit weights plus room for the vision tower and a cache."""

    hub_id: str
    gib: float


FAMILIES = {   # largest first; the last one is what is fetched when none is here
    "qwen3-vl": (
        Checkpoint("Qwen/Qwen3-VL-8B-Instruct", 22),
        Checkpoint("Qwen/Qwen3-VL-4B-Instruct", 13),
    ),
    "qwen2.5-vl": (
        Checkpoint("Qwen/Qwen2.5-VL-7B-Instruct", 21),
        Checkpoint("Qwen/Qwen2.5-VL-3B-Instruct", 11),
    ),
    "smolvlm2": (
        Checkpoint("HuggingFaceTB/SmolVLM2-2.2B-Instruct", 8),
        Checkpoint("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", 3),
    ),
}
NAMES = ("auto", "nano", "fake", *sorted(FAMILIES))


@dataclass(frozen=True)
class Request:
    """What was asked for besides the model's name."""

    device: "torch.device"
    quantize: str
    attention: str


def load(
    spec: str = "auto",
    *,
    device: "torch.device | str | None" = None,
    quantize: str = "none",
    attention: str = "auto",
) -> "tuple[VideoLLM, str]":
    """The model for `spec` and the reason, a sentence to print.

    spec: one of `NAMES`, a checkpoint folder, or a hub id "Org/Name". Raises StreamAssistError.
    """
    request = Request(_device(device), quantize, attention)
    if spec == "auto":
        return _auto(request)
    if spec == "nano":
        return _nano(request), "nano, as asked for."
    if spec == "fake":
        from models.fake import FakeLLM

        return FakeLLM(), "fake, as asked for: it only plays a script, for tests of the page."
    if spec in FAMILIES:
        return _family(spec, request)
    if folder := _existing(spec):
        return _folder(folder, request), f"{spec}, the folder asked for."
    if HUB_ID.fullmatch(spec) and not spec.startswith("."):
        return _folder(fetch(spec), request, spec), f"{spec}, as asked for."
    raise StreamAssistError(
        f"--model {spec!r} is neither a name ({', '.join(NAMES)}), nor a folder that exists, "
        'nor a hub id such as "Qwen/Qwen2.5-VL-3B-Instruct".'
    )


# ---------------------------------------------------------------- choosing

def _auto(request: Request) -> "tuple[VideoLLM, str]":
    """The best checkpoint that is on this machine and fits its GPU, else nano."""
    if request.device.type != "cuda":
        return _nano(request), "nano, made for CPUs: no NVIDIA GPU is in use."
    free = free_gib(request.device)
    for checkpoint in (c for family in FAMILIES.values() for c in family):
        if checkpoint.gib * SHRINK[request.quantize] > free:
            continue
        if folder := cached(checkpoint.hub_id):
            model = _folder(folder, request, checkpoint.hub_id)
            return model, f"{checkpoint.hub_id}: it is on this machine and {free:.0f} GB are free."
    return _nano(request), (
        f"nano: the GPU has {free:.0f} GB free, but no {', '.join(FAMILIES)} checkpoint that fits "
        "is on this machine; name one with --model to fetch it."
    )


def _family(name: str, request: Request) -> "tuple[VideoLLM, str]":
    """The best checkpoint of a family that is here and fits, else its default from the hub."""
    for checkpoint in FAMILIES[name]:
        fits = (
            request.device.type != "cuda"
            or checkpoint.gib * SHRINK[request.quantize] <= free_gib(request.device)
        )
        if fits and (folder := cached(checkpoint.hub_id)):
            model = _folder(folder, request, checkpoint.hub_id)
            return model, f"{checkpoint.hub_id}, the {name} checkpoint on this machine."
    default = FAMILIES[name][-1].hub_id
    return _folder(fetch(default), request, default), f"{default}, the usual {name} checkpoint."


def _nano(request: Request) -> "VideoLLM":
    if request.quantize != "none":
        raise StreamAssistError(
            f"--quantize {request.quantize} is for larger models on an NVIDIA GPU; "
            "nano is small already: use --quantize none."
        )
    from models.nano.adapter import Nano

    return Nano.load(request.device, request.attention)


def _existing(spec: str) -> Path | None:
    """The folder a spec names; None for what no file system could have."""
    try:
        folder = Path(spec).expanduser()
        return folder if spec and folder.is_dir() else None
    except (OSError, RuntimeError):   # too long a name, no such user
        return None


def _folder(folder: Path, request: Request, name: str | None = None) -> "VideoLLM":
    """A checkpoint folder, by the `model_type` in its config.json."""
    try:
        kind = str(json.loads((folder / "config.json").read_text())["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StreamAssistError(
            f"{folder} is not a checkpoint: it has no readable config.json with a model_type; "
            "give the folder that holds config.json and *.safetensors."
        ) from None
    if kind not in ADAPTERS:
        raise StreamAssistError(
            f"{folder} holds a {kind!r} model, which is not supported; supported are: "
            f"{', '.join(ADAPTERS)}."
        )
    module, adapter = ADAPTERS[kind]
    loader = getattr(import_module(module), adapter).from_folder
    return loader(folder, request.device, request.quantize, request.attention, name)


# ---------------------------------------------------------------- machine and hub

def _device(wish: "torch.device | str | None") -> "torch.device":
    import torch

    if wish is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wish)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise StreamAssistError("No NVIDIA GPU can be used here; leave --device out, or say cpu.")
    return device


def free_gib(device: "torch.device") -> float:
    import torch

    return torch.cuda.mem_get_info(device)[0] / 2**30


def cached(hub_id: str) -> Path | None:
    """The checkpoint's folder in the local hub cache, None when its weights are not there."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(hub_id, local_files_only=True, allow_patterns=WANTED_FILES)
        )
    except (OSError, ValueError):
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def fetch(hub_id: str) -> Path:
    """The checkpoint's folder, from the local cache or else from the hub."""
    if folder := cached(hub_id):
        return folder
    from huggingface_hub import constants, snapshot_download

    log.warning("Fetching %s into %s; this may be several GB.", hub_id, constants.HF_HUB_CACHE)
    try:
        return Path(snapshot_download(hub_id, allow_patterns=WANTED_FILES))
    except (OSError, ValueError) as error:
        raise StreamAssistError(
            f"{hub_id} is not on this machine and no model hub answered; use --model nano, give a "
            "folder that holds the checkpoint, or try again online (with HF_HUB_OFFLINE unset)."
        ) from error
