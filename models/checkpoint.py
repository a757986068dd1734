"""Checkpoint folders: weights and tokenizer from local files, and what their configs say."""
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel

from streamassist.errors import StreamAssistError
from streamassist.hardware import fast_dtype
from streamassist.rope import Rope

# ---------------------------------------------------------------- configuration

def head_dim_of(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rope_of(config: Any, interleaved: bool = False) -> Rope:
    """The rotary embedding a text config describes, on one axis or three."""
    rope, dim = config.rope_parameters, head_dim_of(config)
    if rope["rope_type"] not in ("default", "mrope"):
        raise StreamAssistError(
            f"This checkpoint scales its rotary embedding ({rope['rope_type']}), which is not "
            "supported; choose a checkpoint without rope scaling."
        )
    if section := rope.get("mrope_section"):
        return Rope.mrope(dim, rope["rope_theta"], section, interleaved)
    return Rope.one_axis(dim, rope["rope_theta"])


def stop_ids_of(model: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    """Every id that ends an answer: the tokenizer's and those of the generation config."""
    ids = {tokenizer.eos_token_id}
    configured = model.generation_config.eos_token_id
    ids.update(configured if isinstance(configured, list) else [configured])
    return frozenset(ids - {None})


# ---------------------------------------------------------------- loading

def load_tokenizer(folder: Path) -> Any:
    """The tokenizer with its chat template, which older checkpoints keep in a file of its own."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        apart = Path(folder) / "chat_template.json"
        if not tokenizer.chat_template and apart.exists():
            tokenizer.chat_template = json.loads(apart.read_text())["chat_template"]
    except (OSError, ValueError, KeyError) as error:
        raise StreamAssistError(
            f"{folder} has no usable tokenizer (tokenizer.json); download the checkpoint again."
        ) from error
    return tokenizer


def load_weights(
    model_class: str, folder: Path, device: torch.device, quantize: str = "none"
) -> PreTrainedModel:
    """A transformers model on `device` in the type it computes fast in, from safetensors."""
    dtype = fast_dtype(device)
    options = quantization(quantize, device, dtype)
    transformers.logging.disable_progress_bar()
    try:
        model = getattr(transformers, model_class).from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, **options
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise StreamAssistError(
            f"The model in {folder} cannot be loaded ({str(error).strip().splitlines()[0]}); "
            "it needs config.json and intact *.safetensors: download it again."
        ) from error
    return model if options else model.to(device)


def quantization(name: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of `from_pretrained` for none | int8 | nf4."""
    if name == "none":
        return {}
    with suppress(ImportError):
        if device.type == "cuda":
            import bitsandbytes  # noqa: F401  (transformers reports its absence far too late)

            four = {
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_compute_dtype": dtype,
            }
            chosen = four if name == "nf4" else {"load_in_8bit": True}
            config = transformers.BitsAndBytesConfig(**chosen)
            return {"quantization_config": config, "device_map": {"": device}}
    raise StreamAssistError(
        f"--quantize {name} needs an NVIDIA GPU and bitsandbytes "
        "(pip install -r requirements-gpu.txt); use --quantize none."
    )
