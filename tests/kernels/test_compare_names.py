"""What two names state differently, field by field, in words."""

import pytest

from tracediff.kernels import Types
from tracediff.kernels.compare import differing_fields, split_k_words, types_words
from tracediff.kernels.model import KernelName


def kernel(**stated):
    return KernelName(**{"name": "k", "family": "nvjet", "role": "gemm", **stated})


def texts(a, b):
    return [change.text for change in differing_fields(a, b)]


@pytest.mark.parametrize(
    ("field", "a", "b", "text"),
    [
        ("role", "gemm", "copy", "role gemm → copy"),
        ("kernel", "f", "g", "kernel f → g"),
        ("kind", "gemm", "grouped", "kind gemm → grouped"),
        ("arch", "sm80", "sm90", "arch sm80 → sm90"),
        ("tile", (128, 8, 64), (64, 16, None), "tile 128×8×64 → 64×16×?"),
        ("stages", 12, 16, "stages 12 → 16"),
        ("cluster", (4, 1), (2, 1), "cluster 4×1 → 2×1"),
        ("warps", (4, 1, 1), (2, 2, 1), "warps 4×1×1 → 2×2×1"),
        ("mma", (16, 8, 16), (16, 8, 8), "mma 16×8×16 → 16×8×8"),
        ("split_k", 3, 2, "split-K 3 → 2"),
        ("sliced_k", 2, 4, "sliced-K 2 → 4"),
        ("schedule", "coop", "pingpong", "schedule coop → pingpong"),
        ("raster", "v", "h", "raster v → h"),
        ("layout", "tn", "nn", "layout tn → nn"),
        ("alignment", 8, 1, "alignment 8 → 1"),
        ("epilogue", "relu", "gelu", "epilogue relu → gelu"),
        ("beta", "0", "any", "beta 0 → any"),
        ("two_cta", True, False, "two CTAs yes → no"),
        ("op_class", "simt", "tensorop", "unit simt → tensorop"),
        ("threads", 128, 256, "threads 128 → 256"),
        ("head_dim", 64, 128, "head dimension 64 → 128"),
        (
            "types",
            Types(a="f16"),
            Types(a="bf16"),
            f"types {types_words(Types(a='f16'))} → {types_words(Types(a='bf16'))}",
        ),
    ],
)
def test_a_field_is_told_by_its_label_whether_both_state_it_or_one(field, a, b, text):
    after = text.partition(" → ")[2]
    assert texts(kernel(**{field: a}), kernel(**{field: b})) == [text]
    assert texts(kernel(**{field: a}), kernel(**{field: a})) == []
    if field != "role":
        assert texts(kernel(), kernel(**{field: b}))[0].endswith(f"not stated → {after}")
        assert texts(kernel(**{field: a}), kernel())[0].endswith(" → not stated")


def test_families_are_told_first_and_only_what_both_state():
    a = kernel(family="nvjet", tile=(128, 8, 64), stages=12)
    b = kernel(family="cutlass3x", tile=(64, 8, 64), cluster=(1, 1))
    assert texts(a, b) == ["family nvjet → cutlass3x", "tile 128×8×64 → 64×8×64"]


def test_unlike_kernels_of_one_family_are_told_by_their_functions():
    gemv = kernel(family="cublas_gemv_misc", kernel="gemmSN_TN_kernel")
    assert texts(gemv, kernel(family="xmma")) == ["kernel gemmSN_TN_kernel → xmma gemm"]
    assert texts(kernel(family="xmma"), gemv) == ["kernel xmma gemm → gemmSN_TN_kernel"]
    assert texts(kernel(family="other"), kernel(family="xmma")) == ["kernel not read → xmma gemm"]
    (change,) = differing_fields(gemv, kernel(family="xmma"))
    assert (change.field, change.a, change.b) == ("family", "gemmSN_TN_kernel", "xmma gemm")
    functions = texts(gemv, kernel(family="other", kernel="frobnicate"))
    assert functions == ["family cublas_gemv_misc → other", "kernel gemmSN_TN_kernel → frobnicate"]


def test_details_are_told_within_a_family_alone():
    a, b = kernel(details=(("cta_tile", (8, 8)), ("ldg", 8))), kernel(details=(("cta_tile", (8, 4)), ("v", True)))
    found = differing_fields(a, b)
    assert [change.text for change in found] == ["cta tile 8×8 → 8×4", "ldg 8 → not stated", "v not stated → yes"]
    assert [(change.field, change.a, change.b) for change in found] == [
        ("details.cta_tile", "8×8", "8×4"),
        ("details.ldg", "8", None),
        ("details.v", None, "yes"),
    ]
    other = kernel(family="xmma", details=(("ldg", 4),))
    assert texts(a, other) == ["family nvjet → xmma"]


def test_what_is_not_read_is_told_only_where_nothing_else_differs():
    a, b = kernel(unparsed="x"), kernel(unparsed="y")
    (change,) = differing_fields(a, b)
    assert (change.field, change.a, change.b, change.text) == ("unparsed", "x", "y", "unread part x → y")
    assert texts(a, kernel()) == ["unread part x → not stated"]
    assert texts(kernel(), b) == ["unread part not stated → y"]
    assert texts(a, kernel(unparsed="y", stages=3)) == ["stages not stated → 3"]


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({}, None),
        ({"split_k": 3, "split_k_form": "stated"}, "3"),
        ({"split_k_form": "none"}, "no"),
        ({"split_k_form": "stated"}, "yes (factor not in the name)"),
        ({"split_k_form": "stream-k"}, "stream-k"),
        ({"split_k_form": "split-kv"}, "split-kv"),
    ],
)
def test_split_k_in_words(stated, words):
    assert split_k_words(kernel(**stated)) == words


@pytest.mark.parametrize(
    ("types", "words"),
    [
        (Types(), None),
        (Types(b="f16"), "f16"),
        (Types(a="f16", b="f16", accumulate="f32", output="f16"), "f16 × f16 → f16, sums in f32"),
        (Types(output="bf16"), "→ bf16"),
        (Types(partial="f32"), "partial sums f32"),
        (
            Types(
                a="e4m3",
                b="e2m1",
                c="void",
                math="tf32",
                accumulate="f32",
                output="bf16",
                scale_a="s/32",
                scale_b="t/16",
            ),
            "e4m3 × e2m1 → bf16, sums in f32, multiplies tf32, C void, scales s/32, and t/16",
        ),
    ],
)
def test_types_in_words(types, words):
    assert types_words(types) == words
