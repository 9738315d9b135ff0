from tracediff.diff.result import Verdict
from tracediff.report.diff.html.build import build_report
from tracediff.report.diff.html.payload import payload

from .samples import blocks, diff, kernel, row, side


def test_identical_blocks_are_one_line_that_counts_them_all() -> None:
    report = build_report(diff(*blocks(32)))
    (group,) = report.phases[0].groups
    assert group.layers == "layers 0–31"
    assert len(group.modules) == 32
    assert group.totals.kernels == (32, 32)
    assert group.kind == "self_attn.q_proj"


def test_a_block_that_runs_otherwise_stands_apart() -> None:
    odd = row(kernel("x"), kernel("x"), layer=7, module="model.layers.7.self_attn.q_proj")
    report = build_report(diff(*blocks(7), odd))
    assert [group.layers for group in report.phases[0].groups] == ["layers 0–6", "layer 7"]


def test_the_headline_is_the_answer_and_the_cause_stands_below_it() -> None:
    report = build_report(diff(*blocks(4)))
    assert report.headline == "Expected (from the traces alone): bits can differ"
    assert report.lead[0] == "Cause: split-K 3 → 2 in q_proj (prefill)."


def test_traces_that_run_the_same_are_said_to() -> None:
    report = build_report(diff(row(kernel(), kernel())))
    assert report.headline == "No difference (from the traces alone): the same kernels, launched alike"
    assert [step.state for step in report.chain[:2]] == ["clear", "clear"]


def test_an_empty_diff_has_a_page() -> None:
    report = build_report(diff())
    assert report.headline == "Cannot tell (from the traces alone): neither trace holds a kernel to compare"
    assert report.phases == ()


def test_rows_without_phase_come_last() -> None:
    report = build_report(diff(row(kernel(), kernel(), phase=None, layer=None, module=""), *blocks(2)))
    assert [phase.name for phase in report.phases] == ["prefill", "outside every range"]


def test_a_kernel_without_counterpart_is_kept_and_is_a_change() -> None:
    report = build_report(diff(row(None, kernel("only_b"), Verdict.UNKNOWN, "only in b")))
    (group,) = report.phases[0].groups
    assert group.one_sided and group.changed
    assert group.pairs[0].a is None and group.pairs[0].b is not None
    assert group.time == ("–", "5.00 µs", "new")


def test_another_grid_alone_is_a_change_and_is_the_marked_field() -> None:
    report = build_report(diff(row(kernel(), kernel(grid=(16, 1, 1)), Verdict.UNKNOWN, "grid")))
    (group,) = report.phases[0].groups
    assert group.changed
    assert [(field.label, field.a, field.b) for field in group.pairs[0].fields if field.changed] == [
        ("grid", "8×1×1", "16×1×1")
    ]


def test_whole_numbers_carry_their_difference() -> None:
    report = build_report(diff(row(kernel(), kernel(registers=128), Verdict.UNKNOWN, "")))
    fields = {field.label: field for field in report.phases[0].groups[0].pairs[0].fields}
    assert fields["registers per thread"].change == "−40"
    assert fields["GPU time"].change == "0 %"


def test_equal_counts_with_other_factors_are_pointed_out() -> None:
    reduce = kernel("splitKreduce_kernel", "splitk_reduce", None)
    rows = [row(reduce, reduce, layer=n, module=f"model.layers.{n}.self_attn.q_proj") for n in range(3)]
    report = build_report(diff(*blocks(3, module="m"), *rows))
    assert any("1 split-K reduction per block on both sides: the count shows no change" in s for s in report.lead)


def test_a_later_phase_that_runs_the_same_is_folded() -> None:
    report = build_report(diff(*blocks(2), *blocks(2, phase="decode[0]"), *blocks(2, phase="decode[1]")))
    assert [phase.same_as for phase in report.phases] == ["", "prefill", "prefill"]


def test_files_name_the_sides_where_the_batch_does_not() -> None:
    report = build_report(diff(a=side("x/one.sqlite", None), b=side("y/one.sqlite", None)))
    assert report.side_names == ("one.sqlite (a)", "one.sqlite (b)")


def test_differing_facts_are_marked() -> None:
    report = build_report(diff(b=side("b2.sqlite", 2, dtype="bfloat16", versions={"cuda": "13.0"})))
    changed = {fact.label for fact in report.sources if fact.changed}
    assert changed == {"File", "Batch", "Element type", "cuda"}


def test_the_payload_holds_every_name_once_and_adds_up_to_the_totals() -> None:
    report = build_report(diff(*blocks(32), *blocks(32, phase="decode[0]")))
    columns = payload(report)
    assert len(columns["strings"]) == len(set(columns["strings"]))
    per_group = [columns["groups"]["kernels_a"][group] for group in columns["modules"]["group"]]
    assert sum(per_group) == report.totals.kernels[0] == 64
    assert sum(columns["modules"]["ns_b"]) == report.totals.duration_ns[1]
    assert len({len(column) for column in columns["modules"].values()}) == 1
    assert len({len(column) for column in columns["groups"].values()}) == 1
