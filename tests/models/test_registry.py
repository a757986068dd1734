"""`models.load`: names, folders and hub ids, and a clear sentence for everything else."""
import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch

import models
from models.fake import FakeLLM
from streamassist.errors import StreamAssistError

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SENTINEL = object()


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """An empty local cache and a hub that never answers; returns the ids it was asked for."""
    asked = []

    def snapshot_download(hub_id, local_files_only=False, **_):
        if not local_files_only:
            asked.append(hub_id)
        raise FileNotFoundError("not cached, no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


@pytest.fixture
def gpu(monkeypatch):
    """A make-believe GPU with 24 GB free, and adapters that only remember what they were given."""
    loaded = []

    def folder(path, request, name=None):
        loaded.append((name, request))
        return SENTINEL

    monkeypatch.setattr(models, "_device", lambda wish: GPU)
    monkeypatch.setattr(models, "free_gib", lambda device: 24.0)
    monkeypatch.setattr(models, "_folder", folder)
    monkeypatch.setattr(models, "_nano", lambda request: "nano")
    return loaded


def here(monkeypatch, *ids: str) -> None:
    """Pretend that these checkpoints are in the local cache."""
    monkeypatch.setattr(models, "cached", lambda hub_id: Path("/x") if hub_id in ids else None)


def checkpoint(folder: Path, **config) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# ---------------------------------------------------------------- names

def test_fake_is_loaded_by_name_only():
    model, reason = models.load("fake")
    assert isinstance(model, FakeLLM) and "script" in reason


def test_auto_on_a_cpu_is_nano_and_says_why(monkeypatch):
    monkeypatch.setattr(models, "_nano", lambda request: SENTINEL)
    model, reason = models.load("auto", device="cpu")
    assert model is SENTINEL and "no NVIDIA GPU" in reason


def test_auto_takes_the_best_local_checkpoint_that_fits(gpu, monkeypatch):
    here(monkeypatch, "Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct")
    model, reason = models.load("auto")
    assert model is SENTINEL and gpu[-1][0] == "Qwen/Qwen3-VL-4B-Instruct"
    assert "24 GB" in reason


def test_auto_passes_over_what_does_not_fit_unless_quantized(gpu, monkeypatch):
    here(monkeypatch, "Qwen/Qwen3-VL-8B-Instruct")
    monkeypatch.setattr(models, "free_gib", lambda device: 12.0)
    model, reason = models.load("auto")
    assert model == "nano" and "12 GB free" in reason
    assert models.load("auto", quantize="nf4")[0] is SENTINEL
    assert gpu[-1][1].quantize == "nf4"


def test_a_family_name_takes_what_is_here(gpu, monkeypatch):
    here(monkeypatch, "HuggingFaceTB/SmolVLM2-2.2B-Instruct")
    _, reason = models.load("smolvlm2")
    assert gpu[-1][0] == "HuggingFaceTB/SmolVLM2-2.2B-Instruct" in reason


@pytest.mark.parametrize("name", sorted(models.FAMILIES))
def test_a_family_that_is_not_here_is_asked_for_once(name, no_hub):
    with pytest.raises(StreamAssistError, match="no model hub answered; use --model nano"):
        models.load(name, device="cpu")
    assert no_hub == [models.FAMILIES[name][-1].hub_id]


def test_a_hub_id_is_taken_from_the_cache_without_asking(monkeypatch, tmp_path):
    folder = checkpoint(tmp_path / "snapshot", model_type="gpt2")
    (folder / "model.safetensors").touch()

    def snapshot_download(hub_id, local_files_only=False, **_):
        assert local_files_only and hub_id == "Org/Name"
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(StreamAssistError, match="'gpt2'"):
        models.load("Org/Name", device="cpu")


# ---------------------------------------------------------------- mistakes

@pytest.mark.parametrize("spec", ["gpt9", "", "./not/there", "a b/c"])
def test_an_unknown_name_lists_the_known_ones(spec, no_hub):
    with pytest.raises(StreamAssistError, match="auto, nano, fake, qwen2.5-vl, qwen3-vl, smolvlm2"):
        models.load(spec, device="cpu")
    assert no_hub == []


def test_an_unknown_architecture_lists_the_supported_ones(tmp_path):
    folder = checkpoint(tmp_path, model_type="whisper")
    with pytest.raises(StreamAssistError, match="'whisper'.*smolvlm, qwen2_5_vl, qwen3_vl"):
        models.load(str(folder), device="cpu")


@pytest.mark.parametrize("text", [None, "", "{broken", "[]", "{}"])
def test_a_folder_without_a_usable_config_is_no_checkpoint(tmp_path, text):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(StreamAssistError, match="no readable config.json"):
        models.load(str(tmp_path), device="cpu")


@pytest.mark.parametrize("kind", sorted(models.ADAPTERS))
def test_a_checkpoint_without_weights_says_what_it_needs(tmp_path, kind):
    folder = checkpoint(tmp_path, model_type=kind)
    with pytest.raises(StreamAssistError, match=r"\*\.safetensors"):
        models.load(str(folder), device="cpu")


def test_nano_is_not_quantized():
    with pytest.raises(StreamAssistError, match="use --quantize none"):
        models.load("nano", device="cpu", quantize="nf4")


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a GPU")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(StreamAssistError, match="No NVIDIA GPU"):
        models.load("nano", device="cuda")


def test_the_registry_alone_imports_no_torch():
    code = "import models, sys; raise SystemExit('torch' in sys.modules)"
    root = Path(models.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
