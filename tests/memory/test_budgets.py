"""Budgets in megabytes become whole tokens, and never more than fit."""
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up import add_frame, pinned_cache
from streamassist.config import make_method
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS, in_tokens
from streamassist.memory.base import MAX_TOKENS

NANO = 69_120   # bytes a slot: 30 layers, 3 heads of 64, raw and rotated keys and values, float32


@pytest.mark.parametrize(
    "spec, tokens",
    [
        ("recall:budget=1.5MB", "recall:budget=21"),
        ("full:max_tokens=12MB", "full:max_tokens=173"),
        ("full:max_tokens=12 mb", "full:max_tokens=173"),
        ("rekv:page=4,budget=.5MB,positions=original", "rekv:page=4,budget=7,positions=original"),
        ("uniform:budget=0.06912MB", "uniform:budget=1"),     # exactly one
        ("uniform:budget=512", "uniform:budget=512"),
        ("a:word=thumb,budget", "a:word=thumb,budget"),       # make_method says what is wrong
        ("last_n", "last_n"),
        ("", ""),
    ],
)
def test_by_hand(spec, tokens):
    assert in_tokens(spec, NANO) == tokens


@pytest.mark.parametrize(
    "spec, said",
    [
        ("last_n:frames=3MB", "only budget and max_tokens"),
        ("rekv:stored=3MB", "only budget and max_tokens"),
        ("uniform:budget=0.069MB", r"at least 0\.07MB"),
        ("uniform:budget=0MB", r"at least 0\.07MB"),
        ("uniform:budget=69121MB", "at most 69120MB"),
        ("uniform:budget=-3MB", "such as 12MB"),
        ("uniform:budget=MB", "such as 12MB"),
        ("uniform:budget=1/2MB", "such as 12MB"),
        ("uniform:budget=infMB", "such as 12MB"),
        ("uniform:budget=²MB", "such as 12MB"),
        (f"uniform:budget={'9' * 5000}MB", "such as 12MB"),
    ],
)
def test_a_wrong_size_is_told_with_its_mend(spec, said):
    with pytest.raises(StreamAssistError, match=said) as told:
        in_tokens(spec, NANO)
    assert len(str(told.value)) < 200 and str(told.value).endswith(".")


@given(thousands=st.integers(1, 10**9), per_token=st.integers(1, 10**7))
def test_as_many_tokens_as_fit_and_not_one_more(thousands, per_token):
    """Property: tokens x size <= budget < (tokens + 1) x size; what is refused has a mend."""
    size = 1000 * thousands
    spec = f"uniform:budget={thousands / 1000:.3f}MB"
    tokens = size // per_token
    if 1 <= tokens <= MAX_TOKENS:
        assert in_tokens(spec, per_token) == f"uniform:budget={tokens}"
        return
    with pytest.raises(StreamAssistError) as told:
        in_tokens(spec, per_token)
    mend = str(told.value).split()[-1].rstrip(".")
    mended = int(in_tokens(f"uniform:budget={mend}", per_token).partition("=")[2])
    assert mended >= 1 if tokens == 0 else mended <= MAX_TOKENS


def test_a_megabyte_is_what_the_cache_counts():
    cache = pinned_cache()
    for frame in range(4):
        add_frame(cache, frame)
    size = cache.bytes / 1e6
    assert in_tokens(f"uniform:budget={size:.6f}MB", cache.bytes_per_slot).endswith("=19")
    assert cache.size == 19


@pytest.mark.parametrize("name", METHODS)
def test_before_a_model_is_loaded_all_else_is_checked(name):
    takes = {f.name for f in fields(METHODS[name])} & {"budget", "max_tokens"}
    for key in takes:
        make_method("memory", in_tokens(f"{name}:{key}=0.001MB"), METHODS)
        with pytest.raises(StreamAssistError, match="nonsense"):
            make_method("memory", in_tokens(f"{name}:{key}=3MB,nonsense=1"), METHODS)
        with pytest.raises(StreamAssistError, match="such as 12MB"):
            in_tokens(f"{name}:{key}=x3MB")
