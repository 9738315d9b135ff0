"""What two traces name differently is paired by place, and said."""

from tests.diff.tables import table
from tracediff.diff import diff_tables
from tracediff.diff.pair_names import pair_names

GEMM, OTHER = "nvjet_hsh_64x8_64x16_4x1_v_bz_TNT", "nvjet_hsh_64x16_64x16_4x1_v_bz_TNT"


def names(of):
    return [(key.phase, key.module) for key in of.keys]


def test_equal_names_need_no_pairing():
    a = table([("prefill", "q", GEMM), ("prefill", "k", GEMM)])
    assert pair_names(a, a) is a


def test_a_module_that_is_named_differently_is_paired_between_the_same_neighbours():
    a = table([("prefill", "q", GEMM), ("prefill", "LlamaAttention", GEMM), ("prefill", "o", GEMM)])
    b = table([("prefill", "q", OTHER), ("prefill", "LlamaFlashAttention2", OTHER), ("prefill", "o", OTHER)])
    paired = pair_names(a, b)
    assert names(paired) == names(a)
    assert paired.notes == (
        "names that only this trace has, compared by place: LlamaFlashAttention2 as LlamaAttention",
    )
    assert [(row.module, len(row.a), len(row.b)) for row in diff_tables(a, b).rows] == [
        ("q", 1, 1),
        ("LlamaAttention", 1, 1),
        ("o", 1, 1),
    ]


def test_a_phase_that_is_named_differently_is_paired_where_it_runs_the_same_modules():
    a = table([("prefill 40", "q", GEMM), ("decode", "q", GEMM)])
    b = table([("prefill 41", "q", GEMM), ("decode", "q", GEMM)])
    assert names(pair_names(a, b)) == names(a)
    other = table([("optimizer", "adam", "k"), ("decode", "q", GEMM)])
    assert pair_names(a, other) is other


def test_modules_of_another_sort_or_layer_are_not_taken_for_one_another():
    a = table([("p", "q", GEMM), ("p", "product", GEMM), ("p", "layers.1.x", "k")])
    b = table([("p", "q", GEMM), ("p", "add", "k"), ("p", "layers.2.x", "k")])
    assert pair_names(a, b) is b


def test_where_another_number_of_names_is_left_nothing_is_paired():
    a = table([("p", "q", GEMM), ("p", "x", "k"), ("p", "y", "k"), ("p", "o", GEMM)])
    b = table([("p", "q", GEMM), ("p", "z", "k"), ("p", "o", GEMM)])
    assert pair_names(a, b) is b


def test_names_at_different_places_are_not_paired():
    a = table([("p", "x", "k"), ("p", "q", GEMM)])
    b = table([("p", "q", GEMM), ("p", "z", "k")])
    assert pair_names(a, b) is b


def test_kernels_outside_every_range_are_no_name_to_be_paired():
    a = table([(None, "", "k"), ("prefill 1", "q", GEMM)])
    b = table([(None, "", "k"), ("prefill 2", "q", GEMM)])
    assert names(pair_names(a, b)) == names(a)


def test_a_few_pairs_are_named_and_the_others_counted():
    a = table([("p", f"a{number}", "k") for number in range(8)])
    b = table([("p", f"b{number}", "k") for number in range(8)])
    (note,) = pair_names(a, b).notes
    assert note.endswith("b0 as a0, b1 as a1, b2 as a2 and 5 more")


def with_hooks_on_modules(*more):
    """Phases as hooks on every module but the root make them: each module that the root calls is one."""
    return table([
        ("model", "", "norm_kernel"), ("model", "model.layers.0.q", GEMM), ("model", "model.layers.0.o", GEMM),
        ("lm_head", "", GEMM), *more,
    ])  # fmt: skip


def with_a_hook_on_the_root(*more, name="LlamaForCausalLM"):
    return table([
        (name, "model", "norm_kernel"), (name, "model.layers.0.q", GEMM), (name, "model.layers.0.o", GEMM),
        (name, "lm_head", GEMM), (name, "", "slice_kernel"), *more,
    ])  # fmt: skip


def test_a_phase_of_the_same_modules_is_paired_whatever_its_name_and_place():
    a, b = with_hooks_on_modules(), with_a_hook_on_the_root()
    paired = pair_names(a, b)
    assert names(paired) == [*names(a), ("LlamaForCausalLM", "")]
    assert paired.notes == (
        "phases that only this trace has, compared with those of the same modules: LlamaForCausalLM as model",
    )
    rows = {(row.phase, row.module): (len(row.a), len(row.b)) for row in diff_tables(a, b).rows}
    assert rows == {**dict.fromkeys(names(a), (1, 1)), ("LlamaForCausalLM", ""): (0, 1)}


def test_the_same_modules_are_paired_the_other_way_round():
    a, b = with_a_hook_on_the_root(), with_hooks_on_modules()
    paired = pair_names(a, b)
    assert set(names(paired)) == set(names(a)) - {("LlamaForCausalLM", "")}
    assert len(paired.notes) == 1


def test_of_two_phases_with_the_same_modules_neither_is_taken():
    a = with_hooks_on_modules()
    again = [(phase, f"model.layers.0.{name}", GEMM) for phase in ("decode", "verify") for name in "qo"]
    b = with_a_hook_on_the_root(*again)
    assert pair_names(a, b) is b


def test_a_phase_of_other_modules_is_not_taken():
    a = with_hooks_on_modules()
    b = table([("Encoder", f"encoder.{number}", GEMM) for number in range(3)])
    assert pair_names(a, b) is b


def test_phases_that_run_no_product_say_nothing_of_their_modules():
    a = table([("x", "", "k"), ("sampling", "sort", "k"), ("sampling", "scan", "k")])
    b = table([("y", "sort", "k"), ("y", "scan", "k")])
    assert pair_names(a, b) is b


def test_very_many_phases_that_only_one_trace_has_are_not_compared_by_their_modules_and_that_is_said(monkeypatch):
    def phases(name, count):
        words = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(count)]
        return table([(f"{name} {word}", f"{word}.{part}", GEMM) for word in words for part in "qk"])

    monkeypatch.setattr("tracediff.diff.pair_names._MOST_COMPARED", 100)
    few = pair_names(phases("a", 9), phases("b", 11))
    assert "and 6 more" in few.notes[0]
    many = phases("b", 12)
    found = pair_names(phases("a", 9), many)
    assert names(found) == names(many)
    assert found.notes == ("12 phases that only this trace has are too many to look for their modules",)
