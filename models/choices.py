"""Speak, stay silent, delegate: the tokens of a model that was trained to choose after each frame.

VideoLLM-online and LiveCC have a token for silence, MiniCPM-o's duplex mode and JoyAI-VL one for
each choice. A checkpoint folder names its own in `streaming.json`, for instance
{"silent": " ...", "speak": "<|speak|>", "delegate": "<|delegate|>"}; any of them may be missing.
"""
import json
from pathlib import Path
from typing import Any

from streamassist.errors import StreamAssistError

FILE = "streaming.json"
CHOICES = ("silent", "speak", "delegate")


def choices_of(folder: Path, tokenizer: Any) -> dict[str, int]:
    """Choice -> token id; nothing where the folder does not say. Raises StreamAssistError."""
    file = Path(folder) / FILE
    if not file.is_file():
        return {}
    try:
        named = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise StreamAssistError(f"{file} cannot be read ({error}); mend or remove it.") from None
    if not isinstance(named, dict) or not set(named) <= set(CHOICES):
        raise StreamAssistError(f"{file} may only name {', '.join(CHOICES)}; mend it.")
    return {choice: _token(file, text, tokenizer) for choice, text in named.items()}


def _token(file: Path, text: Any, tokenizer: Any) -> int:
    ids = tokenizer(text, add_special_tokens=False).input_ids if isinstance(text, str) else []
    if len(ids) != 1:
        raise StreamAssistError(
            f"{file}: {text!r} is {len(ids)} tokens of this checkpoint, not one; mend it."
        )
    return ids[0]
