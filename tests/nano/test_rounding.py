"""Weights in 8 and 4 bits: as near as the bits allow, and nothing else touched."""
import pytest
import torch
from torch import nn

from models.nano.rounding import GROUP, packed, round_linears, rounded, unpacked


def test_a_packed_matrix_comes_back_within_half_a_step_and_vectors_as_they_were():
    torch.manual_seed(0)
    state = {"a.weight": torch.randn(5, 40) * torch.tensor([1e-3, 1, 7, 0, 50])[:, None],
             "bias": torch.randn(6), "gain": torch.tensor(0.25), "input_size": torch.tensor(288)}
    small = packed(state)
    assert small["a.weight"].dtype == torch.int8
    back = unpacked(small)
    assert back.keys() == state.keys()
    step = state["a.weight"].abs().amax(1, keepdim=True) / 127
    assert ((back["a.weight"] - state["a.weight"]).abs() <= step / 2 + 1e-6).all()
    assert torch.equal(back["bias"], state["bias"].bfloat16())
    assert float(back["gain"]) == 0.25 and int(back["input_size"]) == 288


def test_what_is_not_packed_is_read_as_it_is():
    state = {"a": torch.randn(3, 4).bfloat16(), "flag.bias": torch.zeros(1)}
    assert all(torch.equal(value, state[name]) for name, value in unpacked(state).items())


@pytest.mark.parametrize("bits", [8, 4])
def test_a_group_has_as_many_levels_as_its_bits_and_keeps_its_ends(bits):
    weight = torch.randn(4, 4 * GROUP)
    near = rounded(weight, bits).view(4, 4, GROUP)
    for row, mine in zip(weight.view(-1, GROUP), near.reshape(-1, GROUP), strict=True):
        assert len(mine.unique()) <= 2**bits
        step = (row.max() - row.min()) / (2**bits - 1)
        assert (mine - row).abs().max() <= step / 2 + 1e-5
        assert torch.isclose(mine.max(), row.max(), atol=1e-5)


def test_layers_whose_rows_do_not_divide_are_left():
    model = nn.Sequential(nn.Linear(2 * GROUP, 3, bias=False), nn.Linear(3, 4))
    before = model[1].weight.clone()
    assert round_linears(model, 4) == 1
    assert torch.equal(model[1].weight, before) and len(model[0].weight[0].unique()) <= 2 * 16
