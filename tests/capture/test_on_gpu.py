"""What only a GPU can show: the algorithm log changes neither which kernels run nor a bit of what they compute."""

import pytest

from tracediff.capture.algorithm_log import algorithm_log
from tracediff.capture.options import CaptureOptions
from tracediff.capture.repeats import first_difference, kernel_sequence
from tracediff.capture.run import capture
from tracediff.diff import diff_tables
from tracediff.model.forward import forward, greedy_tokens
from tracediff.model.load import load_model, prompt_tokens
from tracediff.model.ranges import open_range, ranges_around_modules
from tracediff.model.spec import ModelSpec
from tracediff.trace import read_trace

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("needs an NVIDIA GPU", allow_module_level=True)

DTYPES = ["float16", "bfloat16", "float32"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_have_the_same_bits_with_log_and_ranges_as_without(dtype):
    spec = ModelSpec(dtype=dtype, layers=2)
    model = load_model(spec, "cuda")
    prompt = prompt_tokens(spec, model)
    decode = greedy_tokens(model, prompt, 2)
    for batch in (1, 2):
        tokens = prompt.repeat(batch, 1)
        plain = forward(model, tokens, decode)
        with algorithm_log(True) as state, ranges_around_modules(model):
            logged = forward(model, tokens, decode, open_one=open_range)
        assert state == "on"
        assert all(torch.equal(one, other) for one, other in zip(plain, logged, strict=True))


@pytest.mark.nsys
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_kernels_run_with_the_log_as_without(nsys, tmp_path, dtype):
    sequences = []
    for log in (True, False):
        options = CaptureOptions(
            spec=ModelSpec(dtype=dtype, layers=2),
            batches=(1, 2),
            out=tmp_path / str(log),
            algorithm_log=log,
            nsys=nsys.path,
        )
        captured = capture(options, [].append)
        assert captured.manifest.algorithm_log == ("on" if log else "off")
        assert not captured.warnings
        sequences.append([kernel_sequence(trace) for trace in captured.traces])
    for logged, plain in zip(*sequences, strict=True):
        assert len(plain) > 0
        assert first_difference(logged, plain) is None


@pytest.mark.nsys
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_records_the_kernels_and_modules_that_nsys_records(nsys, tmp_path, dtype):
    tables = []
    for profiler in ("nsys", "torch"):
        options = CaptureOptions(
            spec=ModelSpec(dtype=dtype, layers=2),
            batches=(1, 2),
            out=tmp_path / profiler,
            profiler=profiler,
            evidence=False,
            nsys=nsys.path if profiler == "nsys" else None,
        )
        captured = capture(options, [].append)
        assert captured.manifest.profiler == profiler
        assert not captured.warnings
        tables.append([read_trace(trace) for trace in captured.traces])
    for by_nsys, by_torch in zip(*tables, strict=True):
        # The profilers spell names differently; diff knows which are the same.
        diff = diff_tables(by_nsys, by_torch)
        assert {row.names_differ for row in diff.rows} == {False}
        for column in ("grid", "block", "registers", "shared_memory_bytes"):
            assert (getattr(by_nsys, column) == getattr(by_torch, column)).all()
        assert (by_nsys.info.gpu, by_nsys.info.sm_count) == (by_torch.info.gpu, by_torch.info.sm_count)
