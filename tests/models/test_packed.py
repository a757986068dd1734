"""Packed linear layers give torch's own product, and take its place in a model."""
import pytest
import torch
from torch import nn

from models.packed import DecodeLinear, PackedLinear, can_pack, pack_linears
from streamassist.types import Role
from tests import tiny_nano

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN"
)


@pytest.mark.parametrize("rows", [1, 3, 11, 16, 27, 130])
@pytest.mark.parametrize("shape", [(576, 1536), (1536, 576), (576, 192)])
def test_the_product_is_torchs_own(rows, shape):
    torch.manual_seed(rows)
    linear, x = nn.Linear(*shape, bias=False), torch.randn(1, rows, shape[0])
    with torch.no_grad():
        torch.testing.assert_close(PackedLinear(linear)(x), linear(x), atol=1e-5, rtol=1e-5)


def test_bfloat16_is_packed_where_the_hardware_multiplies_it():
    linear = nn.Linear(576, 192, bias=False).bfloat16()
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert can_pack(linear) == supported
    if supported:
        x = torch.randn(1, 18, 576).bfloat16()
        with torch.no_grad():
            torch.testing.assert_close(PackedLinear(linear)(x), linear(x))


def test_only_plain_layers_of_two_types_are_packed():
    model = nn.Sequential(
        nn.Linear(8, 8, bias=False), nn.Linear(8, 8), nn.Linear(8, 8, bias=False).half()
    )
    assert pack_linears(model) == 1
    assert [type(layer).__name__ for layer in model] == ["PackedLinear", "Linear", "Linear"]
    assert pack_linears(model) == 0


def test_a_packed_model_says_the_same():
    """The whole tiny nano: frames and a question, logits within the tolerance of streaming."""
    (nano, _), (packed, _) = tiny_nano.build(), tiny_nano.build()
    table = packed.model.get_input_embeddings().weight.clone()
    assert pack_linears(packed.model) == 4 * 7 + 1
    assert torch.equal(packed.model.get_input_embeddings().weight, table)
    for run in (one := tiny_nano.Recorder(nano), two := tiny_nano.Recorder(packed)):
        run.text(nano.prompt_ids(), Role.PROMPT)
        for frame in tiny_nano.frames(3):
            run.frame(frame)
        run.text(nano.question_ids("what do you see?"), Role.BRANCH)
    torch.testing.assert_close(torch.stack(one.logits), torch.stack(two.logits),
                               atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_one_row_is_read_in_8_bits_and_several_as_they_are(kind):
    torch.manual_seed(0)
    linear, x = nn.Linear(576, 192, bias=False).to(kind), torch.randn(1, 3, 576).to(kind)
    both = DecodeLinear(linear, linear)
    with torch.no_grad():
        assert torch.equal(both(x), linear(x))
        row, exact = both(x[:, :1]).float(), linear(x[:, :1]).float()
    assert row.shape == exact.shape and not torch.equal(row, exact)
    assert (row - exact).norm() / exact.norm() < 0.015


def test_decoding_in_8_bits_takes_the_place_of_every_plain_layer():
    (nano, _), (fast, _) = tiny_nano.build(), tiny_nano.build()
    assert pack_linears(fast.model, decode=True) == 4 * 7 + 1
    assert type(fast.model.lm_head) is PackedLinear   # its single row is prefill's as well
    assert pack_linears(fast.model, decode=True) == 0
    logits = []
    for model in (nano, fast):
        run = tiny_nano.Recorder(model)
        run.text(model.prompt_ids(), Role.PROMPT)
        run.frame(tiny_nano.frames(1)[0])
        run.text([5], Role.BRANCH)
        logits.append(torch.stack(run.logits))
    torch.testing.assert_close(logits[0][:2], logits[1][:2], atol=1e-4, rtol=0)
    assert 0 < (logits[0][2] - logits[1][2]).norm() < 0.05 * logits[0][2].norm()
