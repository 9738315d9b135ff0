"""Traces of another model, type, weights or prompt are not judged; another machine is named."""

import pytest

from tests.changed import replace
from tests.diff.rules.make import log, nvjet
from tests.diff.test_attached_evidence import diff, row
from tests.profiles import BFLOAT16, FLOAT16, LONG, LONG_FLASH
from tracediff.diff import diff_tables
from tracediff.diff.answer import answer
from tracediff.diff.judgement import Judgement
from tracediff.diff.same_work import other_machine, other_work
from tracediff.kernels import Types
from tracediff.trace import read_trace

ROWS = (row("q", nvjet(3), nvjet(2)),)


def about(tmp_path, a, b, rows=ROWS):
    """Two traces whose manifests say this."""
    plain = replace(diff(tmp_path), rows=rows)
    sides = [replace(side, info=replace(side.info, **fields)) for side, fields in ((plain.a, a), (plain.b, b))]
    return replace(plain, a=sides[0], b=sides[1])


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ({"model": "x"}, {"model": "y"}, "model (x and y)"),
        ({"layers": 32}, {"layers": 16}, "model (32 and 16 layers)"),
        ({"dtype": "float16"}, {"dtype": "bfloat16"}, "element type (float16 and bfloat16)"),
        ({"weights": "random"}, {"weights": "real"}, "weights (random and real)"),
        (
            {"weights": "random", "seed": 0},
            {"weights": "random", "seed": 1},
            "weights (random, seeds 0 and 1)",
        ),
        ({"tokens": 6}, {"tokens": 700}, "prompt (6 and 700 tokens)"),
        ({"tokens": 2, "prompt": (1, 2)}, {"tokens": 2, "prompt": (1, 3)}, "prompt"),
    ],
)
def test_what_makes_it_other_work_is_named_and_nothing_is_judged(tmp_path, a, b, words):
    compared = about(tmp_path, a, b)
    assert [str(each) for each in other_work(compared)] == [words]
    found = answer(compared)
    assert found.judgement is Judgement.CANNOT_TELL
    assert found.outcome == f"the traces differ in more than the batch size: {words}"
    assert found.because == ""


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"model": "x"}, {"model": None}),
        ({"tokens": 6}, {}),
        ({"weights": "real", "seed": 0}, {"weights": "real", "seed": 1}),
        ({"prompt": (1, 2)}, {"prompt": None}),
    ],
)
def test_what_one_manifest_leaves_open_makes_no_other_work(tmp_path, a, b):
    assert other_work(about(tmp_path, a, b)) == ()


def test_another_machine_is_judged_and_named(tmp_path):
    a = {"gpu": "NVIDIA H100", "versions": {"cublas": "12.8", "nsys": "1", "torch": "2"}, "attention": "sdpa"}
    b = {"gpu": "NVIDIA H200", "versions": {"cublas": "13.1", "nsys": "2", "torch": "2"}, "attention": "flash"}
    compared = about(tmp_path, a, b)
    assert [each.what for each in other_machine(compared)] == ["GPU", "attention", "cublas"]
    found = answer(compared)
    assert found.judgement is Judgement.EXPECTED
    assert found.outcome == (
        "bits can differ; the traces also differ in GPU (H100 and H200), attention (sdpa and flash) and cublas (12.8 "
        "and 13.1)"
    )


# -- what the products say, without a manifest ------------------------------------------------------------------------


def product(k=4096, operand="f16", logged=True):
    stated = {"type_a": {"f16": "R_16F", "f32": "R_32F"}.get(operand)}
    return nvjet(1, types=Types(a=operand), algorithm=log(m=1, n=1, k=k, **stated) if logged else None)


def nameless(tmp_path, *pairs):
    """Products of two traces of which nothing else is known."""
    unknown = {"model": None, "dtype": None}
    rows = tuple(row(f"m{place}", a, b) for place, (a, b) in enumerate(pairs))
    return [str(each) for each in other_work(about(tmp_path, unknown, unknown, rows))]


def test_products_of_other_widths_are_another_model(tmp_path):
    same, other = (product(), product()), (product(), product(k=2048))
    assert nameless(tmp_path, other, other, same) == ["model (k 4096 and 2048)"]
    # One of two may be a product of attention, whose k is a number of keys, or a module that was replaced.
    assert nameless(tmp_path, other, same) == []
    assert nameless(tmp_path, same) == []


def test_products_of_other_operands_are_another_element_type(tmp_path):
    assert nameless(tmp_path, (product(), product(operand="bf16"))) == ["element type (f16 and bf16)"]
    named = product(logged=False), product(operand="e4m3", logged=False)
    assert nameless(tmp_path, named) == ["element type (f16 and e4m3)"]


def test_tf32_is_how_float32_is_multiplied_and_no_other_type(tmp_path):
    one, other = product(operand="f32", logged=False), product(operand="tf32", logged=False)
    assert nameless(tmp_path, (one, other)) == []


@pytest.fixture(scope="module")
def without_manifests(tmp_path_factory):
    """The traces of several captures, with nothing beside them."""
    folder = tmp_path_factory.mktemp("traces")
    traces = {"fp16": FLOAT16 / "b1.sqlite", "bf16": BFLOAT16 / "b1.sqlite", "1b": LONG / "b1.sqlite"}
    for name, path in (traces | {"fp16-b2": FLOAT16 / "b2.sqlite"}).items():
        (folder / f"{name}.sqlite").symlink_to(path)
    return lambda name: read_trace(folder / f"{name}.sqlite")


@pytest.mark.parametrize(
    ("a", "b", "differ"),
    [
        ("fp16", "1b", "model (k 4096 and 2048)"),
        ("fp16", "bf16", "element type (f16 and bf16)"),
        ("fp16", "fp16-b2", ""),
    ],
)
def test_real_traces_without_a_manifest(without_manifests, a, b, differ):
    compared = diff_tables(without_manifests(a), without_manifests(b))
    assert " and ".join(map(str, other_work(compared))) == differ


def test_real_captures_of_two_models_or_types_are_not_judged():
    one, bf16, small, flash = (read_trace(each / "b1.sqlite") for each in (FLOAT16, BFLOAT16, LONG, LONG_FLASH))
    for other in (bf16, small):
        assert answer(diff_tables(one, other)).judgement is Judgement.CANNOT_TELL
    assert "attention (sdpa and flash)" in answer(diff_tables(small, flash)).outcome
