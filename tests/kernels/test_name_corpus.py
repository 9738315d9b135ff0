"""Every name of the corpus: its family, and every field that its grammar states without doubt.

`kernel_names.jsonl` holds real names with expected fields and where they come from.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracediff.kernels import KernelName, parse

ROWS = [json.loads(line) for line in (Path(__file__).parent / "kernel_names.jsonl").read_text("utf-8").splitlines()]
FAMILIES = sorted({row["family"] for row in ROWS})

# Expected values that we hold to be wrong: (name, field) → why, and what we say instead.
DISPUTED: dict[tuple[str, str], tuple[str, Any]] = {
    ("triton_per_token_quant_fp8", "triton_kind"): (
        "a hand-written function named per_token_quant: inductor's kind `per` is followed by `_fused_`",
        None,
    ),
}


def _type(part: str) -> Callable[[KernelName], Any]:
    return lambda kernel: getattr(kernel.types, part) if kernel.types else None


def _tile(place: int) -> Callable[[KernelName], Any]:
    return lambda kernel: kernel.tile[place] if kernel.tile else None


def _input(kernel: KernelName) -> str | None:
    """A block-scaled operand is scale × data; the corpus means the data."""
    return kernel.types.a.rpartition("x")[2] if kernel.types and kernel.types.a else None


def _split(kernel: KernelName) -> bool | None:
    """The corpus has true, false or null; stream-K is its own field there."""
    if kernel.split_k_form in (None, "stream-k"):
        return None
    return kernel.split_k_form != "none"


def _instruction(kernel: KernelName) -> str | None:
    return "x".join(str(part) for part in kernel.mma) if kernel.mma else kernel.op_class


READERS: dict[str, Callable[[KernelName], Any]] = {
    "tile_m": _tile(0),
    "tile_n": _tile(1),
    "tile_k": _tile(2),
    "dtype_in": _input,
    "dtype_a": _type("a"),
    "dtype_b": _type("b"),
    "dtype_c": _type("c"),
    "dtype_out": _type("output"),
    "dtype_acc": _type("accumulate"),
    "dtype_math": _type("math"),
    "dtype_partial": _type("partial"),
    "scale_a": _type("scale_a"),
    "scale_b": _type("scale_b"),
    "align": lambda kernel: kernel.alignment,
    "is_reduction": lambda kernel: kernel.role in ("splitk_reduce", "reduction"),
    "split_k": _split,
    "stream_k": lambda kernel: kernel.split_k_form == "stream-k",
    "triton_kind": lambda kernel: kernel.kind,
    "inst": _instruction,
    "n_template_args": lambda kernel: kernel.detail("template_arguments"),
    "warps": lambda kernel: kernel.warps[0] if kernel.warps and len(kernel.warps) == 1 else kernel.warps,
}


def stated(kernel: KernelName, key: str) -> Any:
    """Return what the result says of one of the corpus' fields."""
    if key in READERS:
        value = READERS[key](kernel)
    elif key in KernelName.__struct_fields__:
        value = getattr(kernel, key)
    else:
        value = kernel.detail(key)
    return list(value) if isinstance(value, tuple) else value


def _agrees(key: str, value: Any, expected: Any) -> bool:
    # The corpus writes instruction shapes as the family prints them, with or without separators.
    return value == expected or (key == "inst" and value is not None and value.replace("x", "") == expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_of_the_corpus_is_read_as_its_grammar_states(family: str) -> None:
    wrong = []
    for row in ROWS:
        if row["family"] != family:
            continue
        kernel = parse(row["name"])
        if kernel.family != family:
            wrong.append((row["name"], "family", family, kernel.family))
        for key, expected in row["expected"].items():
            value = stated(kernel, key)
            meant = DISPUTED.get((row["name"], key), ("", expected))[1]
            if not _agrees(key, value, meant):
                wrong.append((row["name"], key, meant, value))
    assert wrong == []


def test_disputed_values_still_stand_in_the_corpus() -> None:
    names = {(row["name"], key) for row in ROWS for key in row["expected"]}
    assert set(DISPUTED) <= names


def test_every_procedural_name_of_the_corpus_is_read_to_its_end() -> None:
    procedural = (
        "nvjet",
        "cutlass2x",
        "cutlass2x_conv",
        "cutlass3x",
        "xmma",
        "xmma_conv",
        "cublas_legacy",
        "cudnn_legacy",
    )
    unread = [row["name"] for row in ROWS if row["family"] in procedural and parse(row["name"]).unparsed]
    assert unread == []


def test_results_survive_json() -> None:
    for row in ROWS:
        found = parse(row["name"]).to_dict()
        assert json.loads(json.dumps(found)) == found
        assert found["name"] == row["name"]
