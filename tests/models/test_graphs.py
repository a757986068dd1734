"""Forward passes of fixed shape: the same words and the same cache as the usual way."""
import weakref
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import tiny_nano
from models.graphs import FixedShapes, rows_for, slots_for, through
from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS
from streamassist.types import Role
from streamassist.visual import rows_of
from tests.streaming import Stream
from tests.tiny_models import KINDS, adapter, frames

EXACT = {"atol": 1e-4, "rtol": 0}
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def model_of(kind: str):
    return tiny_nano.build()[0] if kind == "nano" else adapter(kind)


def pair(kind: str):
    """The same model twice; the second computes in fixed shapes."""
    usual, fixed = model_of(kind), model_of(kind)
    fixed.fixed = FixedShapes(fixed.model, fixed._pass, capture=False)
    return usual, fixed


def shown(kind: str, count: int):
    return tiny_nano.frames(count) if kind == "nano" else frames(count)


def watch(llm, pictures) -> Stream:
    """Frames with evictions between them, a question that steps aside for a frame, an answer, a
    frame of which half is read, and more slots than the buffers had at first."""
    run = Stream.open(llm)
    for number, picture in enumerate(pictures):
        run.show([picture])
        if number % 3 == 2:
            run.cache.keep(torch.arange(len(run.cache)) >= len(run.cache) // 3)
            run.cache.renumber()
    start = run.cache.size
    run.text(llm.question_ids("what is it"))
    branch = run.cache.lift(start)
    run.show([pictures[0]])
    start = run.cache.size
    run.cache.put_back(branch, run.cache.next_position)
    for token in (7, 70, 300):
        run.text([token])
    run.cache.truncate(start)
    (tokens,) = llm.encode([pictures[1]])
    run.show_tokens(rows_of(tokens, torch.arange(0, len(tokens.embeds), 2)))
    for _ in range(3):
        run.text([11] * 250, Role.TEXT)
    run.show([pictures[2]])
    return run


@pytest.mark.parametrize("kind", [*KINDS, "nano"])
def test_fixed_shapes_give_the_same_logits_and_the_same_cache(kind):
    usual, fixed = pair(kind)
    ours, theirs = (watch(llm, shown(kind, 7)) for llm in (fixed, usual))
    assert theirs.cache.size > 750 and torch.stack(theirs.logits).std() > 0.1
    for mine, other in zip(ours.logits, theirs.logits, strict=True):
        torch.testing.assert_close(mine, other, **EXACT)
    a, b = ours.cache, theirs.cache
    assert (a.size, a.num_pinned, a.next_position) == (b.size, b.num_pinned, b.next_position)
    for name in ("raw", "rotated", "value"):
        x, y = (getattr(c, name)[:, :, : c.size] for c in (a, b))
        torch.testing.assert_close(x, y, **EXACT)
    for x, y in zip(a.used().fields(), b.used().fields(), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("kind", ["qwen3_vl", "nano"])
def test_what_lies_behind_the_slots_in_use_is_seen_by_no_row(kind):
    _, llm = pair(kind)
    logits = []
    for junk in (0.0, 1e4):
        run = Stream.open(llm)
        for buffer in (run.cache.raw, run.cache.rotated, run.cache.value):
            buffer[:, :, run.cache.size :] = junk
        with torch.inference_mode():
            for rows in llm.fixed._rows.values():   # of the padding, too
                rows.embeds.fill_(junk)
        run.show(shown(kind, 2))
        logits.append(run.text([9]))
    assert torch.equal(*logits)


def test_queries_are_taken_the_usual_way():
    usual, fixed = pair("qwen2_5_vl")
    ours, theirs = (Stream.open(llm) for llm in (fixed, usual))
    queries = [run.llm.queries_of(run.llm.text_chunk([5, 6, 7], run.cache.next_position,
                                                     Role.TEXT, 0.0), run.cache)
               for run in (ours, theirs)]
    assert queries[0].shape[2] == 3
    torch.testing.assert_close(*queries, **EXACT)


def test_the_flag_of_nano_is_of_the_last_row_here_too():
    usual, fixed = pair("nano")
    flag = torch.nn.Linear(tiny_nano.DIM, 1)
    for llm in (usual, fixed):
        llm.flag = flag
        Stream.open(llm).show(tiny_nano.frames(2))
    assert fixed.p_silence == pytest.approx(usual.p_silence, abs=1e-5) and 0 < fixed.p_silence < 1


class Replay:
    """Stands in for a CUDA graph: what was computed under `recording` is computed again, into the
    memory of the first result."""

    count = 0

    def replay(self) -> None:
        Replay.count += 1
        self.result.copy_(self.call())


@pytest.fixture
def recorded(monkeypatch) -> None:
    last = {}

    def noted(decoder, now, rows, cache, slots):
        held = weakref.ref(cache)   # a graph keeps no cache alive
        last["call"] = lambda: through(decoder, now, rows, held(), slots)
        last["result"] = through(decoder, now, rows, cache, slots)
        return last["result"]

    @contextmanager
    def recording(graph, pool):
        yield
        graph.call, graph.result = last["call"], last["result"]

    monkeypatch.setattr("models.graphs.through", noted)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Replay)
    monkeypatch.setattr(Replay, "count", 0)


@pytest.mark.parametrize("kind", ["qwen3_vl", "nano"])
def test_shapes_are_recorded_when_met_again_and_leave_with_the_buffers(kind, recorded):
    """All but CUDA's own part: what is replayed, from which memory, and for how long."""
    usual, llm = pair(kind)
    llm.fixed.capture = True
    ours, theirs = (watch(each, shown(kind, 7)) for each in (llm, usual))
    for mine, other in zip(ours.logits, theirs.logits, strict=True):
        torch.testing.assert_close(mine, other, **EXACT)
    assert Replay.count > len(ours.logits) / 2 and llm.fixed.graphs > 0
    first, second = Stream.open(llm), Stream.open(llm)
    graphs = llm.fixed.graphs
    for _ in range(2):
        for run in (first, second):   # each cache has graphs of its own
            run.text([9])
    assert llm.fixed.graphs == graphs + 2
    first.text([5] * first.cache.capacity)   # its buffers are replaced
    assert llm.fixed.graphs == graphs + 1
    del second, run
    assert llm.fixed.graphs == graphs


def test_no_more_than_so_many_are_kept(recorded, monkeypatch):
    monkeypatch.setattr("models.graphs.MOST_GRAPHS", 2)
    _, llm = pair("nano")
    llm.fixed.capture = True
    run = Stream.open(llm)
    for count in (1, 1, 40, 40, 80, 80, 1, 1):
        run.text([7] * count)
    assert len(llm.fixed._met) == 2 and llm.fixed.graphs == 2


class NothingRead(TorchDispatchMode):
    """Fails on what a CUDA graph cannot hold: numbers read back, or made on the host."""

    NOT = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "equal", "unique2")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in self.NOT, func
        if func.overloadpacket.__name__ in ("index", "index_put", "index_put_"):
            assert not any(i is not None and i.dtype == torch.bool for i in args[1]), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", [*KINDS, "nano"])
def test_the_recorded_part_reads_nothing_back(kind, monkeypatch):
    _, llm = pair(kind)

    def watched(*args):
        with NothingRead():
            return through(*args)

    monkeypatch.setattr("models.graphs.through", watched)
    run = Stream.open(llm)
    run.show(shown(kind, 2))
    run.text([9])
    with pytest.raises(AssertionError, match="scalar"), NothingRead():
        float(run.logits[-1][0])


@pytest.mark.parametrize("count, rows", [(1, 1), (2, 32), (32, 32), (33, 64)])
def test_rows_come_in_blocks(count, rows):
    assert rows_for(count) == rows


@pytest.mark.parametrize("count, capacity, slots", [
    (10, 4000, 512), (512, 4000, 512), (513, 4000, 1024), (2100, 4000, 4000), (100, 150, 150),
])
def test_slots_come_in_buckets_up_to_the_capacity(count, capacity, slots):
    assert slots_for(count, capacity) == slots


def test_without_a_gpu_graphs_are_refused():
    llm = model_of("nano")
    Engine(llm, make_method("memory", "full", METHODS), EngineConfig())
    with pytest.raises(StreamAssistError, match="--cuda-graphs needs an NVIDIA GPU"):
        Engine(llm, make_method("memory", "full", METHODS), EngineConfig(cuda_graphs=True))
    assert llm.fixed is None


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_replayed_graphs_give_the_same_and_leave_with_the_buffers(kind):
    runs = []
    for graphs in (False, True):
        model = adapter(kind).model.to("cuda")
        llm = type(adapter(kind))(model, adapter(kind).tokenizer, name=kind)
        if graphs:
            llm.use_graphs()
        runs.append(watch(llm, frames(7)))
    for mine, other in zip(runs[1].logits, runs[0].logits, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-3, rtol=0)
    fixed = runs[1].llm.fixed
    assert fixed.graphs > 0
    runs[1].cache._reserve(runs[1].cache.capacity + 1)
    assert fixed.graphs == 0
