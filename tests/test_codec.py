"""Codecs: what comes back is near what went in, and sizes are what the bytes are."""
from dataclasses import replace

import pytest
import torch
import zstandard

from streamassist.codec import (
    CHANNELS,
    PER_BYTE,
    TOKENS,
    Words,
    kivi_keys,
    kivi_values,
    pack,
    quantise,
    signs,
    spherical_keys,
    trits,
    unpack,
    vidkv_keys,
    vidkv_values,
)
from streamassist.entropy import cachegen_keys, cachegen_values, cold


def sample(layers=3, heads=2, tokens=45, dim=20, dtype=torch.float32) -> torch.Tensor:
    """Keys as models have them: some channels are far from zero."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(layers, heads, tokens, dim, generator=draw)
    return (x + torch.arange(dim) % 5).to(dtype)


def error(packed, x: torch.Tensor) -> float:
    """RMS of the difference over RMS of x."""
    back = packed.decode()
    assert back.shape == x.shape and back.dtype == x.dtype
    return float((back.float() - x.float()).norm() / x.float().norm())


# error: measured, and a fifth on top; bits a number with scales, on 45 tokens of 20 channels
CODECS = {
    "kivi_keys": (kivi_keys, 0.17, 3.5),
    "kivi_values": (kivi_values, 0.28, 3.7),
    "vidkv_keys": (vidkv_keys, 0.28, 2.7),
    "vidkv_values": (vidkv_values, 0.34, 2.4),
    "four_bit": (lambda x: quantise(x, 16, TOKENS), 0.034, 5.6),
    "cold": (cold, 0.005, 8.1),
    "cachegen_keys": (cachegen_keys, 0.06, 4.9),
    "cachegen_values": (cachegen_values, 0.09, 4.8),
    "spherical_keys": (spherical_keys, 0.14, 6.1),
}
each = pytest.mark.parametrize("name", CODECS)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 45])
def test_what_comes_back_is_near_what_went_in(name, dtype, tokens):
    codec, most, _ = CODECS[name]
    x = sample(tokens=tokens, dtype=dtype)
    assert error(codec(x), x) <= most + (0.004 if dtype == torch.bfloat16 else 0)


@each
def test_sizes_are_true(name):
    codec, _, bits = CODECS[name]
    x = sample()
    packed = codec(x)
    assert packed.bytes == tensor_bytes(packed)
    assert 1 < 8 * packed.bytes / x.numel() <= bits


def tensor_bytes(packed) -> int:
    """Bytes of every buffer that an object holds, found without asking it."""
    total = 0
    for name in packed.__slots__:
        part = getattr(packed, name)
        if isinstance(part, torch.Tensor):
            total += part.untyped_storage().nbytes()
        elif isinstance(part, bytes):
            total += len(part)
        elif hasattr(part, "decode"):
            total += tensor_bytes(part)
    return total


@each
def test_zeros_and_constants_stay(name):
    codec = CODECS[name][0]
    zeros = torch.zeros(2, 2, 7, 8)
    assert codec(zeros).decode().abs().max() < 1e-6
    if name not in ("spherical_keys", "vidkv_keys"):   # an angle and a spectrum keep no constant
        torch.testing.assert_close(codec(zeros + 3).decode(), zeros + 3, rtol=2e-3, atol=0)


@pytest.mark.parametrize("levels", PER_BYTE)
def test_digits_come_back_and_take_the_bytes_they_should(levels):
    digits = torch.randint(levels, (11, 3), generator=torch.Generator().manual_seed(levels))
    data = pack(digits, levels)
    assert len(data) == -(-33 // PER_BYTE[levels])
    assert torch.equal(unpack(data, levels, 33).view(11, 3), digits.to(torch.uint8))


def test_five_trits_by_hand():
    assert pack(torch.tensor([2, 0, 1, 0, 2]), 3).tolist() == [2 + 9 + 2 * 81]
    assert pack(torch.tensor([1, 2, 3]), 4).tolist() == [1 + 2 * 4 + 3 * 16]


def test_two_bits_by_hand():
    """Four tokens of one channel, 0 to 3: the step is 1; one far token makes it 3."""
    x = torch.tensor([0.0, 1, 2, 3]).view(1, 1, 4, 1)
    assert quantise(x, 4, TOKENS).decode().flatten().tolist() == [0, 1, 2, 3]
    x = torch.tensor([0.0, 1, 2, 9]).view(1, 1, 4, 1)
    assert quantise(x, 4, TOKENS).decode().flatten().tolist() == [0, 0, 3, 9]


def test_signs_and_trits_by_hand():
    x = torch.tensor([4.0, -2, 0.5, -1.5]).view(1, 1, 4, 1)   # mean size 2
    assert signs(x).decode().flatten().tolist() == [2, -2, 2, -2]
    assert trits(x).decode().flatten().tolist() == [2.5, -2.5, 0, -2.5]   # 0 up to size 1


def test_keys_lose_less_by_channel_and_values_by_token():
    """What KIVI is about: a channel that is always large, a token that is all large."""
    keys, values = torch.randn(2, 1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    keys[..., 7] += 50
    values[..., 9, :] *= 50
    assert error(kivi_keys(keys), keys) < 0.5 * error(quantise(keys, 4, CHANNELS), keys)
    others = torch.arange(64) != 9   # those that stand in a group with the large one
    loss = [
        (packed.decode() - values)[..., others, :].norm()
        for packed in (kivi_values(values), quantise(values, 4, TOKENS))
    ]
    assert loss[0] < 0.5 * loss[1]


def test_vidkv_gives_two_bits_to_the_wide_channels():
    x = torch.randn(1, 2, 32, 8, generator=torch.Generator().manual_seed(0))
    x[:, 1] *= 10   # all the wide channels are in the second head
    packed = vidkv_keys(x)
    assert unpack(packed.which, 2, 16).tolist() == [0] * 8 + [1] * 8
    back = packed.decode()
    loss = (back - x).pow(2).sum((0, 2, 3)) / x.pow(2).sum((0, 2, 3))
    assert loss[1] < 0.2 < loss[0] < 0.6


@pytest.mark.parametrize("dim", [6, 7, 8, 9])
def test_a_real_spectrum_has_as_many_numbers_as_channels(dim):
    packed = vidkv_keys(sample(heads=1, dim=dim))
    assert packed.narrow.shape[-1] == dim - dim // 2
    assert packed.wide.shape[-1] == dim // 2


def test_cachegen_is_finer_in_early_layers_and_shorter_than_its_bins():
    x = torch.randn(12, 4, 64, 32, generator=torch.Generator().manual_seed(0))
    packed = cachegen_keys(x)
    loss = (packed.decode() - x).pow(2).mean((1, 2, 3))
    assert loss[10:].min() > 3 * loss[:10].max()
    loss = (cachegen_values(x).decode() - x).pow(2).mean((1, 2, 3))
    assert loss[2:].min() > 3 * loss[:2].max()
    assert 8 * packed.bytes / x.numel() < 4.6   # 32 bins are 5 bits before the entropy code


def test_spherical_by_hand():
    """A pair is channels i and i + D/2: (3, 4) has radius 5, an angle near 53 degrees."""
    x = torch.tensor([[3.0, 0, 4, 1]]).view(1, 1, 1, 4)
    packed = spherical_keys(x)
    assert packed.radius.flatten().tolist() == [255, 0]
    assert unpack(packed.angle, 16, 2).tolist() == [2, 4]   # sixteenths of a turn
    back = packed.decode().flatten()
    half = 5 / 2**0.5   # 45 degrees
    torch.testing.assert_close(back, torch.tensor([half, 0, half, 1]), atol=1e-4, rtol=1e-4)


def test_turning_a_key_is_adding_to_its_angle():
    x = sample(dim=8)
    packed = spherical_keys(x)
    quarter = torch.cat((-x[..., 4:], x[..., :4]), -1)
    turned = spherical_keys(quarter)
    count = x.numel() // 2
    difference = unpack(turned.angle, 16, count).int() - unpack(packed.angle, 16, count).int()
    assert set((difference % 16).tolist()) <= {3, 4, 5}   # a rounding tie may fall either way
    assert torch.equal(turned.radius, packed.radius)


@pytest.mark.parametrize("data", [b"", b"no code", zstandard.compress(bytes(2 * 7 * 8 + 1))])
def test_cold_data_that_is_no_code_or_of_another_size_is_refused(data):
    """The last one is what a bomb looks like: more symbols than the shape has."""
    good = cold(torch.randn(1, 2, 7, 8))
    with pytest.raises(ValueError):
        replace(good, data=data).decode()


# ---------------------------------------------------------------- the kernel's layout

@pytest.mark.parametrize("codec, axis, dim", [(kivi_keys, TOKENS, 20), (kivi_keys, TOKENS, 64),
                                              (kivi_values, CHANNELS, 128)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pages_of_whole_groups_are_packed_by_the_kernel_to_the_same_numbers(
    codec, axis, dim, dtype
):
    x = sample(tokens=64, dim=dim, dtype=dtype)
    x[0, 0, :, 3] = 0.1   # a channel that does not move
    mine, plain = codec(x), quantise(x, 4, axis)
    assert isinstance(mine, Words) and mine.bytes == plain.bytes
    assert error(mine, x) == pytest.approx(error(plain, x), rel=1e-3)
    torch.testing.assert_close(mine.decode(), plain.decode(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("codec, tokens, dim", [(kivi_keys, 45, 64), (kivi_keys, 64, 18),
                                                (kivi_values, 64, 64), (kivi_values, 45, 128)])
def test_other_pages_are_packed_as_ever(codec, tokens, dim):
    assert not isinstance(codec(sample(tokens=tokens, dim=dim)), Words)
