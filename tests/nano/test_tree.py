"""Packed trees give each token exactly what it would get alone on its own path."""
import torch
import torch.nn.functional as F

from models.nano import tree as trees
from models.nano.tree import Tree, collate, pack
from tests import tiny_nano

PROMPT, FRAME, QUESTION = [5, 6, 7], [0] * 16, [8, 9]


def tree(*answers: list[int], second: list[int] | None = None) -> Tree:
    """One frame; a question with `answers`; perhaps a second question answered with 99."""
    t = Tree()
    root = t.add(PROMPT + FRAME)
    t.visual = list(range(len(PROMPT), len(PROMPT + FRAME)))
    node = t.add(QUESTION, root)
    for answer in answers:
        t.add(answer, node, 1.0)
    if second:
        t.add([99], t.add(second, root), 5.0)
    return t


def paths(t: Tree) -> list[list[int]]:
    """Indices from the root to each leaf."""
    leaves = [b for b in range(len(t.ancestors)) if not any(b in a - {c} for c, a in
                                                            enumerate(t.ancestors))]
    return [[i for i, b in enumerate(t.branch) if b in t.ancestors[leaf]] for leaf in leaves]


def test_a_tree_in_a_packed_row_equals_each_of_its_paths_alone():
    model, draw = tiny_nano.text_model(), torch.Generator().manual_seed(0)
    trees = [
        tree([11, 12, 13], [14, 15]),
        tree([21]),
        tree([31, 32], second=[33, 34, 35]),
        tree([41, 42, 43, 44, 45]),
        tree([51, 52]),
    ]
    batch = collate(trees, per_row=2)
    visual = torch.randn(len(batch["visual"]), tiny_nano.DIM, generator=draw) * 0.1
    table = model.get_input_embeddings().weight
    embeds = table[batch["ids"]].index_put(batch["visual"].unbind(1), visual)
    with torch.no_grad():
        packed = model(inputs_embeds=embeds, position_ids=batch["position"],
                       attention_mask=batch["mask"], use_cache=False).logits
    compared = 0
    for n, (t, (row, start)) in enumerate(zip(trees, pack(trees, 2), strict=True)):
        rows = visual[16 * n : 16 * n + 16]
        own = table[torch.tensor(t.ids)].index_put((torch.tensor(t.visual),), rows)
        for path in paths(t):
            with torch.no_grad():
                alone = model(inputs_embeds=own[path][None], use_cache=False).logits[0]
            columns = start + torch.tensor(path)
            torch.testing.assert_close(packed[row, columns], alone, atol=1e-5, rtol=0)
            compared += 1
    assert compared == 7


def test_trainings_attention_equals_torchs(monkeypatch):
    """The plain product with the mask, against the fused kernel, values and gradients."""
    monkeypatch.setattr(trees, "fast_dtype", lambda device: torch.float32)
    mask = collate([tree([11, 12, 13], [14, 15]), tree([21])], per_row=1)["mask"]
    shape = (2, 9, mask.shape[-1], 8)
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(shape, generator=draw, requires_grad=True)
    key, value = (torch.randn(2, 3, *shape[2:], generator=draw) for _ in range(2))
    mine, _ = trees.tree_attention(None, query, key, value, mask, 0.3)
    repeated = (x.repeat_interleave(3, 1) for x in (key, value))
    fused = F.scaled_dot_product_attention(query, *repeated, mask, scale=0.3).transpose(1, 2)
    torch.testing.assert_close(mine, fused, atol=1e-5, rtol=0)
    one, two = (torch.autograd.grad(x.square().sum(), query)[0] for x in (mine, fused))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_marks_of_news_stand_at_the_last_token_of_each_frame():
    t = tree([11])
    t.news = [(18, True)]
    rows = collate([tree([11, 12, 13]), t], per_row=2)["news"]
    assert rows.tolist() == [[0, 24 + 18, 1]]


def test_what_is_learnt_is_predicted_by_the_token_before_it():
    batch = collate([tree([11, 12], [14], second=[33])], per_row=4)
    row, column, target = batch["learn"].unbind(1)
    assert row.eq(0).all()
    question, first, other = 20, 21, 24      # last of the question; 11, 12, 14; then 33
    assert column.tolist() == [question, first, question, other]
    assert target.tolist() == [11, 12, 14, 99]
    assert batch["weight"].tolist() == [1, 1, 1, 5]


def test_packing_leaves_little_padding_and_loses_no_tree():
    trees = [tree(list(range(1, n + 1))) for n in (3, 20, 5, 9, 14, 2, 7, 11)]
    places = pack(trees, per_row=4)
    taken = sorted((row, start, start + len(t.ids)) for t, (row, start) in
                   zip(trees, places, strict=True))
    for (row, _, end), (next_row, start, _) in zip(taken, taken[1:], strict=False):
        assert next_row > row or start == end
    widths = [max(end for r, _, end in taken if r == row) for row in (0, 1)]
    assert sum(widths) == sum(len(t.ids) for t in trees)
    assert max(widths) - min(widths) <= 5


def test_of_a_carried_frame_only_the_carrier_is_seen_from_then_on():
    t = Tree()
    first = t.frame(3, t.add([5]))
    remark = t.add([6], first, 1.0)
    second = t.frame(3, first, new=True)
    t.carry(first, since=second)
    question = t.add([7], second)
    mask = t.mask()
    seen = {name: mask[t.last[node], 1:4].tolist()
            for name, node in (("remark", remark), ("second", second), ("question", question))}
    assert seen == {"remark": [True] * 3, "second": [False, False, True],
                    "question": [False, False, True]}
    assert t.visual == [1, 2, 3, 5, 6, 7] and t.news == [(7, True)]
    assert mask[t.last[question], 5:8].all() and mask.diagonal().all()
