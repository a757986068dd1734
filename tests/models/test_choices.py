"""A checkpoint that names its tokens for silent, speak and delegate."""
import json

import pytest

from models.choices import FILE, choices_of
from models.smolvlm import SmolVLM
from streamassist.errors import StreamAssistError
from tests import tiny_models


def saved(folder, kind="smolvlm"):
    model, tokenizer = tiny_models.build(kind)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_tokens_are_found_and_read_by_the_policy(tmp_path):
    tokenizer = saved(tmp_path)
    (tmp_path / FILE).write_text(json.dumps({"silent": "<end_of_utterance>"}))
    llm = SmolVLM.from_folder(tmp_path)
    assert llm.choice_ids == {
        "silent": tokenizer.convert_tokens_to_ids("<end_of_utterance>")
    }


def test_a_folder_that_does_not_say_has_none(tmp_path):
    assert choices_of(tmp_path, tiny_models.tokenizer("smol")) == {}


@pytest.mark.parametrize("text", [
    "not json", "[]", '{"quiet": "x"}', '{"silent": "many words that are no token"}',
    '{"silent": 3}', '{"silent": ""}',
])
def test_a_wrong_file_is_told_in_a_sentence(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StreamAssistError, match=FILE):
        choices_of(tmp_path, tiny_models.tokenizer("smol"))
