"""Small examples whose result is known beforehand."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nano.backbone import SameConv
from models.pairs import FramePair
from models.reuse import METHODS
from models.reuse.families import third
from models.reuse.stc_cacher import STCCacher
from models.reuse.tiles import needed, reached
from models.reuse.tower import Layer, Site
from models.reuse.vit import fixed_count, moved, ssim
from streamassist.config import make_method
from streamassist.reuse import EncoderReuse
from streamassist.types import Frame
from tests import tiny_nano
from tests.tiny_models import KINDS, adapter

SIDE = {"smolvlm": 64, "qwen2_5_vl": 112, "qwen3_vl": 128}   # which no adapter resizes
PATCH = {"smolvlm": 8, "qwen2_5_vl": 14, "qwen3_vl": 16}


def attached(spec: str, llm) -> EncoderReuse:
    method = make_method("reuse", spec, METHODS)
    method.attach(llm)
    return method


def noise(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


# ---------------------------------------------------------------- one patch, one window

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", ["gated", "interleave"])
@pytest.mark.parametrize("where", [(0, 0), (1, 6), (5, 2), (7, 7)])
def test_one_patch_changes_and_so_does_its_token_alone(where, spec, kind):
    llm, side, patch = adapter(kind), SIDE[kind], PATCH[kind]
    before, after = noise(side), noise(side)
    row, column = where
    after[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] ^= 255
    method = attached(spec, llm)
    first, second = (method.encode(Frame(image, 0.0, 0)) for image in (before, after))
    assert method.work == 1 / 64
    token = row // 2 * 4 + column // 2
    for one, two in zip((first.embeds, *first.deepstack), (second.embeds, *second.deepstack),
                        strict=True):
        assert (one != two).any(1).nonzero().flatten().tolist() == [token]


def test_of_a_pair_either_frame_may_move():
    llm, (still, other) = adapter("qwen3_vl"), (noise(128), noise(128))
    other[:16, :16] ^= 255
    method = attached("gated", llm)
    method.encode(FramePair(still, 0.0, 1, still))
    for earlier, image in ((still, other), (other, still)):
        method.encode(FramePair(image, 0.5, 3, earlier))
        assert method.work == 1 / 64


@pytest.mark.parametrize("spec", ["cacher", "gated", "interleave:drop=0.75"])
@pytest.mark.parametrize("corner", [(0, 0), (0, 56), (56, 0)])
def test_windows_are_kept_apart(corner, spec):
    """In a tower of windows only, a window that changed as a whole needs nothing of the others."""
    llm = adapter("qwen2_5_vl")
    llm.tower.root.fullatt_block_indexes = []
    before, after = noise(112), noise(112)
    top, left = corner
    after[top : top + 56, left : left + 56] ^= 255
    method = attached(spec, llm)
    method.encode(Frame(before, 0.0, 0))
    got, (wanted,) = method.encode(Frame(after, 0.5, 1)), llm.encode([Frame(after, 0.5, 1)])
    assert method.work == 0.25
    torch.testing.assert_close(got.embeds, wanted.embeds, atol=1e-4, rtol=0)


def test_a_key_frame_comes_when_much_moved_and_after_a_while():
    llm, still, other = adapter("smolvlm"), noise(64), noise(64, seed=1)
    method = attached("gated:most=0.5,most_s=3", llm)
    shown = [(still, 0.0), (still, 1.0), (still, 3.0), (still, 4.0), (other, 4.5), (still, 5.0)]
    work = []
    for i, (image, pts) in enumerate(shown):
        method.encode(Frame(image, pts, i))
        work.append(method.work)
    assert work == [1, 0, 1, 0, 1, 1]


def test_between_whole_frames_come_as_many_others_as_asked():
    llm = adapter("smolvlm")
    work = {}
    for spec in ("interleave:between=3", "cacher:interval=3"):
        method, work[spec] = attached(spec, llm), []
        for i in range(7):
            method.encode(Frame(noise(64, seed=i), i / 2, i))
            work[spec].append(round(method.work, 2))
    few = 9 / 64   # of 64 tokens, 15 % rounded down
    assert work["interleave:between=3"] == [1, *3 * [round(few, 2)], 1, *2 * [round(few, 2)]]
    assert work["cacher:interval=3"] == [1, 0.25, 0.25, 1, 0.25, 0.25, 1]


# ---------------------------------------------------------------- the cacher's arithmetic

def toy_layer() -> Layer:
    torch.manual_seed(0)
    return Layer(nn.Identity(), 1, *(nn.Linear(4, 4) for _ in range(7)))


@torch.no_grad()
def test_the_cacher_reads_fresh_keys_and_mixed_values_row_by_row():
    site = Site(0, toy_layer())
    layer, cacher = site.layer, STCCacher(share=0.5)
    before, now = torch.randn(2, 6, 4).unbind()
    now[[0, 2, 5]] = before[[0, 2, 5]]
    patches = torch.zeros(6, 3, 1)
    cacher.begin(patches)
    cacher.step(site, before)
    cacher.begin(patches)
    got = cacher.step(site, now)

    k, v = layer.key(layer.norm1(now)), layer.value(layer.norm1(before))
    v[[1, 3, 4]] = layer.value(layer.norm1(now))[[1, 3, 4]]
    for row in range(6):
        if row in (1, 3, 4):
            weights = torch.softmax(layer.query(layer.norm1(now[row])) @ k.T / 2, 0)
            middle = now[row] + layer.out(weights @ v)
            wanted = middle + layer.mlp(layer.norm2(middle))
        else:   # its input is the reference's, and so is what was added to it
            old_k, old_v = (f(layer.norm1(before)) for f in (layer.key, layer.value))
            weights = torch.softmax(layer.query(layer.norm1(before[row])) @ old_k.T / 2, 0)
            read = layer.out(weights @ old_v)
            wanted = now[row] + read + layer.mlp(layer.norm2(before[row] + read))
        torch.testing.assert_close(got[row], wanted, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_fused_layer_is_cut_or_else_run_whole():
    fused, x = nn.Linear(4, 12), torch.randn(5, 4)

    class Packed(nn.Linear):
        """As layers of few bits are."""

    packed = Packed(4, 12)
    packed.load_state_dict(fused.state_dict())
    for i, wanted in enumerate(fused(x).chunk(3, -1)):
        torch.testing.assert_close(third(fused, i, x), wanted)
        torch.testing.assert_close(third(packed, i, x), wanted)


def test_likeness_of_patches():
    a = torch.rand(3, 3, 16)
    assert torch.allclose(ssim(a, a), torch.ones(3))
    dark, light = torch.full((1, 3, 16), 0.2), torch.full((1, 3, 16), 0.4)
    wanted = (2 * 0.08 + 1e-4) / (0.04 + 0.16 + 1e-4)
    assert ssim(dark, light).item() == pytest.approx(wanted, rel=1e-4)
    assert (ssim(a, 1 - a) < 0.2).all()
    assert moved(dark, light).item() == pytest.approx(0.2)
    assert [fixed_count(s, 784) for s in (0.25, 1 - 0.85, 0, 1)] == [196, 117, 1, 784]


# ---------------------------------------------------------------- tiles of a convolution

def one_conv(kernel: int, stride: int) -> SameConv:
    conv = SameConv(1, 1, kernel, stride, bias=False)
    nn.init.ones_(conv.weight)
    return conv.requires_grad_(False)


@pytest.mark.parametrize("kernel, stride", [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("size", [9, 12])
def test_spans_of_a_convolution_are_what_it_really_sees(size, kernel, stride):
    conv = one_conv(kernel, stride)
    for first in range(size):
        x = torch.zeros(1, 1, size, size)
        x[..., first : first + 2] = 1
        columns = conv(x).sum((0, 1, 2)).nonzero().flatten()
        span = reached((first, min(first + 2, size)), conv, size)
        assert span[0] == columns[0] and min(span[1], conv(x).shape[-1]) == columns[-1] + 1
    whole = torch.randn(1, 1, size, size)
    wanted = conv(whole)
    for first in range(wanted.shape[-1]):
        span = (first, min(first + 3, wanted.shape[-1]))
        (a, b), zeros = needed(span, conv, size)
        got = conv.bare(F.pad(whole[..., a:b], (*zeros, *conv.margins(size))))
        torch.testing.assert_close(got, wanted[..., slice(*span)])


def tiled(spec: str, images: list[np.ndarray]) -> tuple[EncoderReuse, list[Tensor], list[Tensor]]:
    """The method, the features it made, and the plain ones."""
    llm, _ = tiny_nano.build()
    method = attached(spec, llm)
    frames = [Frame(image, i / 2, i) for i, image in enumerate(images)]
    got = [method.encode(frame).signature for frame in frames]
    return method, got, [llm.encode([frame])[0].signature for frame in frames]


@pytest.mark.parametrize("where", [(0, 0), (3, 4), (8, 8), (0, 8)])
def test_with_a_whole_halo_a_changed_tile_is_as_if_all_were_run(where):
    before, after = noise(288), noise(288)
    row, column = (32 * i for i in where)
    after[row : row + 32, column : column + 32] ^= 255
    method, got, plain = tiled("tiles:halo=1000", [before, after])
    assert 0 < method.work < 1
    torch.testing.assert_close(got[1], plain[1], atol=1e-4 * float(plain[1].abs().max()), rtol=0)
    assert not torch.allclose(got[1], plain[0], atol=1e-2)


def test_without_a_halo_only_its_own_place_changes():
    before, after = noise(288), noise(288)
    after[96:128, 64:96] ^= 255
    method, _, _ = tiled("tiles:halo=0", [before])
    method.encode(Frame(before, 0.5, 1))
    old = method.maps[-1].clone()
    method.encode(Frame(after, 1.0, 2))
    changed = (method.maps[-1] != old).any(1)[0].nonzero().tolist()
    assert changed == [[3, 2]]
    assert method.work == pytest.approx(1 / 81)


def test_slow_change_adds_up_until_it_is_seen():
    still = np.full((288, 288, 3), 100, np.uint8)
    brighter = []
    for i in range(8):
        image = still.copy()
        image[:32, :32] += 2 * i   # grey levels; 0.02 is five
        brighter.append(image)
    llm, _ = tiny_nano.build()
    method, work = attached("tiles:threshold=0.02", llm), []
    for i, image in enumerate(brighter):
        method.encode(Frame(image, i / 2, i))
        work.append(method.work > 0)
    assert work == [True, False, False, True, False, False, True, False]


def test_slow_change_adds_up_also_beside_a_tile_that_changes_all_the_time():
    llm, _ = tiny_nano.build()
    method, work = attached("tiles:halo=0", llm), []
    for i in range(8):
        image = np.full((288, 288, 3), 100, np.uint8)
        image[:32, :32] += 100 * (i % 2)
        image[:32, 64:96] += 2 * i   # grey levels; 0.04 is ten
        method.encode(Frame(image, i / 2, i))
        work.append(round(81 * method.work))
    assert work == [81, 1, 1, 1, 1, 1, 3, 1]


def test_tiles_are_encoded_whole_after_a_while_and_when_much_changed():
    images = [noise(288), noise(288), noise(288, 1), noise(288, 1), noise(288, 1)]
    llm, _ = tiny_nano.build()
    method, work = attached("tiles:most_s=1", llm), []
    for i, image in enumerate(images):
        method.encode(Frame(image, i / 2, i))
        work.append(method.work)
    assert work == [1, 0, 1, 0, 1]
