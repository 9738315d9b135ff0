"""Alignment: every kernel of both sides once, in order; as many equal kernels as possible."""

from hypothesis import given
from hypothesis import strategies as st

from tests.diff.rules.make import kernel
from tracediff.diff.align import align

ROLES = {"a": "gemm", "b": "gemm", "c": "elementwise", "d": "other", "e": "other"}
sequences = st.lists(st.sampled_from("abcde"), max_size=12)


def kernels(letters):
    return [kernel(letter, role=ROLES[letter]) for letter in letters]


def names(pairs):
    return [(a and a.parsed.name, b and b.parsed.name) for a, b in pairs]


def longest_common_subsequence(a, b):
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            best[i + 1][j + 1] = best[i][j] + 1 if left == right else max(best[i][j + 1], best[i + 1][j])
    return best[-1][-1]


@given(sequences, sequences)
def test_every_kernel_stands_once_and_in_order(a, b):
    pairs = align(kernels(a), kernels(b))
    assert [left.parsed.name for left, _ in pairs if left] == a
    assert [right.parsed.name for _, right in pairs if right] == b
    assert all(left or right for left, right in pairs)


@given(sequences, sequences)
def test_as_many_equal_kernels_are_paired_as_can_be(a, b):
    equal = sum(left is not None and left == right for left, right in names(align(kernels(a), kernels(b))))
    assert equal == longest_common_subsequence(a, b)


@given(sequences, sequences)
def test_only_kernels_of_one_role_stand_for_each_other(a, b):
    for left, right in names(align(kernels(a), kernels(b))):
        assert left is None or right is None or left == right or (ROLES[left] == ROLES[right] != "other")


def test_a_gemm_stands_for_the_gemm_at_its_place_and_the_new_reduction_stands_alone():
    a = [kernel("gemm x", role="gemm"), kernel("add", role="elementwise")]
    b = [kernel("gemm y", role="gemm"), kernel("reduce", role="splitk_reduce"), kernel("add", role="elementwise")]
    assert names(align(a, b)) == [("gemm x", "gemm y"), (None, "reduce"), ("add", "add")]


def test_of_two_gemms_the_one_of_the_same_family_is_its_counterpart():
    a = [kernel("x", role="gemm", family="nvjet")]
    b = [kernel("y", role="gemm", family="cutlass3x"), kernel("z", role="gemm", family="nvjet")]
    assert names(align(a, b)) == [(None, "y"), ("x", "z")]
    assert names(align(b, a)) == [("y", None), ("z", "x")]


def test_long_sequences_are_aligned_at_their_equal_runs():
    a = kernels("abc" * 700)
    b = [kernel("new", role="other"), *kernels("abc" * 699), kernel("end", role="other"), *kernels("abc")]
    pairs = align(a, b)
    assert [left.parsed.name for left, _ in pairs if left] == list("abc" * 700)
    assert sum(left is not None and right is not None for left, right in pairs) >= 2000
