"""Ranges around modules, in one process of their own: what is put around torch's calls stays."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("torch")

_PROGRAM = """
import json, sys, threading
import torch
from torch import nn
from tracediff.capture.record import module_ranges

torch.set_num_threads(1)
told, steps = [], []

class Ranges:
    def opener(self, text): return lambda: told.append(text)
    def open_step(self, text, payload): told.append([text, payload and [payload >> 32, payload % 2**32]])
    def close(self): told.append("-")

def follow(ranges, blocks_alone=False):
    module_ranges._forget_all()
    module_ranges.follow_modules(ranges, lambda root, shape: steps.append(root), blocks_alone)

follow(Ranges())

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
    def forward(self, x):
        return self.down(self.up(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 2)
    def forward(self, input_ids, mask=None):
        for layer in self.layers:
            input_ids = layer(input_ids)
        return self.head(input_ids)

for line in sys.stdin:
    told.clear(); steps.clear()
    scope = {**globals(), "net": Net().eval(), "x": torch.zeros(3, 5, 4)}
    try:
        exec(json.loads(line), scope)
        print(json.dumps([told, steps]), flush=True)
    except BaseException as error:
        print(json.dumps(repr(error)), flush=True)
"""
BLOCKS = [text for layer in ("layers.0", "layers.1") for text in (layer, f"{layer}.up", f"{layer}.down")]
NET = [*BLOCKS, "head"]


@pytest.fixture(scope="module")
def process():
    started = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield started
    started.stdin.close()
    started.stdout.close()
    started.wait()


@pytest.fixture
def run(process):
    """Run source with a fresh small net and an input; return what was opened and closed, and the steps."""

    def run_source(source):
        process.stdin.write(json.dumps(source) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert isinstance(answer, list), answer
        return answer

    return run_source


def opened(told):
    return [each for each in told if each != "-"]


def depth_at_the_end(told):
    return sum(-1 if each == "-" else 1 for each in told)


def test_a_root_is_a_step_with_a_shape_and_everything_below_has_its_path(run):
    told, steps = run("net(x)")
    assert opened(told) == [["Net", [3, 5]], *NET]
    assert told[:4] == [["Net", [3, 5]], "layers.0", "layers.0.up", "-"]
    assert depth_at_the_end(told) == 0
    assert steps == ["Net"]


def test_the_shape_comes_from_keywords_as_well(run):
    told, _ = run("net(mask=torch.zeros(9, 9), input_ids=x)")
    assert opened(told)[0] == ["Net", [3, 5]]


@pytest.mark.parametrize(
    ("argument", "shape"),
    [("torch.zeros(7, 4)", [7, 4]), ("torch.zeros(4)", [0, 4]), ("torch.zeros(2, 3, 5, 4)", [2, 3])],
)
def test_the_first_two_sizes_are_the_shape_and_one_size_has_no_batch(run, argument, shape):
    assert opened(run(f"net({argument})")[0])[0] == ["Net", shape]


def test_a_root_without_a_tensor_has_no_shape(run):
    told, steps = run("class Other(nn.Module):\n    def forward(self, n): return n\nOther()(3)")
    assert (told, steps) == ([["Other", None], "-"], ["Other"])


def test_a_part_of_a_root_that_is_called_by_itself_keeps_its_path_and_is_no_step(run):
    told, steps = run("net(x); net.head(x)")
    assert opened(told)[-1] == "head"
    assert steps == ["Net"]


def test_a_wrapper_and_what_it_wraps_are_one_step(run):
    told, steps = run("nn.DataParallel(net)(x); net(x)")
    assert opened(told) == [["Net", [3, 5]], *NET] * 2
    assert depth_at_the_end(told) == 0
    assert steps == ["Net", "Net"]


def test_a_root_inside_another_is_a_module_of_it(run):
    source = """
class Outer(nn.Module):
    def __init__(self): super().__init__(); self.net = net
    def forward(self, x): return self.net(x)
net(x); Outer()(x); net(x)
"""
    told, steps = run(source)
    inside = ["net", *(f"net.{text}" for text in NET)]
    assert opened(told) == [["Net", [3, 5]], *NET, ["Outer", [3, 5]], *inside, *inside]
    assert steps == ["Net", "Outer"]


def test_a_module_that_joins_later_is_named_by_where_it_is(run):
    told, _ = run("net(x); net.layers[1].down = nn.Linear(8, 4); net(x)")
    assert opened(told)[8:] == [["Net", [3, 5]], *NET]


def test_a_module_that_nobody_registered_is_named_by_its_class_below_its_caller(run):
    source = """
class Hides(nn.Module):
    def forward(self, x): return nn.ReLU()(x)
Hides()(x)
class Outer(nn.Module):
    def __init__(self): super().__init__(); self.inner = Hides()
    def forward(self, x): return self.inner(x)
Outer()(x)
"""
    told, _ = run(source)
    assert opened(told) == [["Hides", [3, 5]], "ReLU", ["Outer", [3, 5]], "inner", "inner.ReLU"]


def test_an_exception_closes_every_range(run):
    source = """
for _ in range(2):
    try: net(torch.zeros(3, 5, 9))
    except RuntimeError: pass
"""
    told, _ = run(source)
    assert opened(told) == [["Net", [3, 5]], "layers.0", "layers.0.up"] * 2
    assert depth_at_the_end(told) == 0


def test_what_is_no_exception_leaves_nothing_open_for_the_callers(run):
    source = """
class Stops(nn.Module):
    def forward(self, x): raise KeyboardInterrupt
class Catches(nn.Module):
    def __init__(self): super().__init__(); self.inner = Stops(); self.head = nn.Identity()
    def forward(self, x):
        try: self.inner(x)
        except KeyboardInterrupt: pass
        return self.head(x)
Catches()(x)
"""
    told, _ = run(source)
    assert depth_at_the_end(told) == 0


def test_steps_are_told_where_no_ranges_are_wanted(run):
    told, steps = run("follow(module_ranges.NoRanges()); net(x); net(x); follow(Ranges())")
    assert (told, steps) == ([], ["Net", "Net"])


def test_blocks_alone_have_ranges_with_what_is_outside_them_and_directly_below(run):
    source = """
class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))])
        self.head = nn.ReLU()
    def forward(self, x): return self.head(self.layers[0](x))
deep = Deep()
follow(Ranges(), blocks_alone=True); deep(x); deep.layers[0][1][0](x); follow(Ranges())
"""
    told, steps = run(source)
    assert opened(told) == [["Deep", [3, 5]], "layers.0", "layers.0.0", "layers.0.1", "head", "layers.0.1.0"]
    assert steps == ["Deep"]
    assert depth_at_the_end(told) == 0


def test_modules_that_ended_are_forgotten(run):
    source = """
import gc
gc.collect(); before = len(module_ranges._known), len(module_ranges._openers)
for _ in range(3): Net().eval()(x)
nn.Sequential(*(nn.ReLU() for _ in range(9)))(x)
gc.collect()
assert (len(module_ranges._known), len(module_ranges._openers)) == before
"""
    assert depth_at_the_end(run(source)[0]) == 0


def test_a_module_compiled_in_place_runs_without_ranges_inside(run):
    told, _ = run("net(x); net.layers[1].compile(backend='eager'); net(x)")
    inside = [text for text in NET if not text.startswith("layers.1")]
    assert opened(told)[8:] == [["Net", [3, 5]], *inside]


def test_threads_have_ranges_of_their_own(run):
    source = """
outer = threading.Event(), threading.Event()
class Waits(nn.Module):
    def forward(self, x): outer[0].set(); outer[1].wait(10); return x
thread = threading.Thread(target=lambda: Waits()(x)); thread.start(); outer[0].wait(10)
net(x); outer[1].set(); thread.join()
"""
    _, steps = run(source)
    assert steps == ["Waits", "Net"]


def test_torch_compile_takes_the_whole_model_as_one_graph(run):
    source = """
import torch._dynamo.utils
want = net(x); told.clear(); steps.clear(); torch._dynamo.utils.counters.clear()
compiled = torch.compile(net, fullgraph=True, backend="eager")
for _ in range(2): assert torch.equal(compiled(x), want)
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
net.layers[0] = torch.compile(net.layers[0], fullgraph=True, backend="eager")
assert torch.equal(net(x), want)
"""
    told, _ = run(source)
    last = [text for text in NET if not text.startswith("layers.0.")]
    assert opened(told) == [*([["Net", [3, 5]]] * 2), ["Net", [3, 5]], *last]
    assert depth_at_the_end(told) == 0


def test_export_tracing_and_symbolic_tracing_work(run):
    source = """
assert torch.export.export(Net().eval(), (x,)).module()(x).shape == (3, 5, 2)
assert torch.jit.trace(Net().eval(), x)(x).shape == (3, 5, 2)
assert torch.fx.symbolic_trace(Net().eval())(x).shape == (3, 5, 2)
"""
    assert depth_at_the_end(run(source)[0]) == 0


def test_models_are_pickled_and_copied_as_ever(run):
    source = """
import copy, io, pickle
net(x)
assert list(vars(pickle.loads(pickle.dumps(net)))) == list(vars(Net().eval()))
copy.deepcopy(net)(x); torch.save(net.state_dict(), io.BytesIO())
"""
    told, _ = run(source)
    assert opened(told)[8:] == [["Net", [3, 5]], *NET]


@pytest.mark.parametrize(("sizes", "text"), [((8, 1), "8x1"), ((2, 40, 7), "2x40"), ((40,), "40"), ((1, 0), "1x0")])
def test_the_reader_of_traces_reads_a_shape_as_it_is_written(sizes, text):
    import torch

    from tracediff.capture.record.module_ranges import step_payload
    from tracediff.trace.shape import Shape

    assert str(Shape.of_payload(step_payload((torch.zeros(sizes),), {}))) == text
