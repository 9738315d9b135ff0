"""The lines that reports for people show."""

from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from tests.diff.rules.make import nvjet
from tests.report.html.samples import side
from tracediff.diff.answer import answer
from tracediff.diff.compared import LeftOut, NotCompared
from tracediff.diff.overview import overview
from tracediff.diff.result import Row, TraceDiff
from tracediff.diff.verdict import judge_row
from tracediff.measured import Bits
from tracediff.report.diff.answer_words import facts, section_words
from tracediff.report.diff.lines import Sort, folds, measured_words, open_lines
from tracediff.report.diff.terminal import lines_table
from tracediff.report.words import change, duration, share


def measured(equal, ulp=None):
    return Bits(equal=equal, share=0.0 if equal else 0.1, max_ulp=ulp)


def test_bits_are_said_by_share_and_in_ulp_only_where_that_tells() -> None:
    assert measured_words([measured(True), measured(True)]) == "equal"
    assert measured_words([measured(False, 1), measured(True)]) == "≤ 10.0 % differ, 1 ULP"
    assert measured_words([measured(False, 3)]) == "≤ 10.0 % differ, ≤ 3 ULP"
    # Of a number near zero the distance in ULP says nothing of the tensor.
    assert measured_words([measured(False, 16_995), measured(False, 2)]) == "≤ 10.0 % differ"
    assert measured_words([measured(False, None)]) == "≤ 10.0 % differ"


def row(name="q_proj", before=3, after=2, layer=0):
    pairs, verdict, reason = judge_row([(nvjet(before), nvjet(after))])
    a, b = nvjet(before), nvjet(after)
    module = f"model.layers.{layer}.self_attn.{name}"
    return Row(phase="prefill", layer=layer, module=module, a=(a,), b=(b,), pairs=pairs, verdict=verdict, reason=reason)


def test_kinds_that_changed_alike_share_a_line_and_keep_their_layers() -> None:
    rows = [row(name, layer=layer) for layer in range(4) for name in ("q_proj", "o_proj")]
    (section,) = overview(rows)
    (line,) = open_lines(section)
    assert (line.modules, line.where, line.split_k) == ("q_proj o_proj", "0–3", "3 → 2")
    assert line.bits == "can differ: split-K 3 → 2"
    assert len(line.rows) == 8


def test_every_row_is_told_once_in_a_line_or_a_fold() -> None:
    rows = [row(layer=0), row("k_proj", 3, 3), row("v_proj", 1, 1), row("o_proj", 4, 2, layer=1)]
    (section,) = overview(rows)
    told = [each for line in (*open_lines(section), *folds(section)) for each in line.rows]
    assert sorted(each.module for each in told) == sorted(each.module for each in rows)
    assert len(open_lines(section, everything=True)) == 4


def test_lines_are_sorted_as_asked() -> None:
    rows = [row("a_proj", 3, 3), row("b_proj", 3, 2)]
    (section,) = overview(rows)
    assert [line.modules for line in open_lines(section, Sort.SEVERITY, everything=True)] == ["b_proj", "a_proj"]
    assert [line.modules for line in open_lines(section, Sort.ORDER, everything=True)] == ["a_proj", "b_proj"]


@given(st.floats(0, 1))
def test_a_share_is_nothing_or_all_only_where_it_is(part: float) -> None:
    assert (share(part) == "0 %") == (part == 0)
    assert (share(part) == "100 %") == (part == 1)


def test_a_duration_has_three_digits_that_count():
    assert [duration(ns) for ns in (0, 812, 4_290, 15_300_000, 402_000, 2_500_000_000)] == [
        "0 ns",
        "812 ns",
        "4.29 µs",
        "15.3 ms",
        "402 µs",
        "2.50 s",
    ]


def test_a_change_is_never_rounded_away():
    assert change(1000, 1000) == "0 %"
    assert change(1_000_000, 1_000_001) == "+<0.1 %"
    assert change(1_000_000, 999_999) == "−<0.1 %"
    assert change(0, 5) == "new"
    assert change(200, 230) == "+15 %"


def test_what_did_not_run_has_no_time() -> None:
    pairs, verdict, reason = judge_row([(nvjet(3), None)])
    gone = Row(phase="prefill", layer=0, module="q", a=(nvjet(3),), b=(), pairs=pairs, verdict=verdict, reason=reason)
    (section,) = overview([gone])
    (line,) = open_lines(section)
    assert line.time_ns[0] is not None and line.time_ns[1] is None
    assert section_words(section)[1].endswith(" → –")
    text = StringIO()
    console = Console(file=text, width=120)
    console.print(lines_table([line], 120))
    assert " → –" in text.getvalue() and "0.0" not in text.getvalue()


def test_why_kernels_were_left_out_is_said_in_words() -> None:
    left_out = [("a", NotCompared(why=why, phase="prefill", executions=1, kernels=374)) for why in LeftOut]
    empty = answer(TraceDiff(a=side(), b=side(), rows=()))
    found = [fact.text for each in left_out for fact in facts(replace(empty, not_compared=(each,)))]
    told = [text for text in found if text.startswith("a: 374 kernels in prefill (")]
    assert len(set(told)) == len(LeftOut)
    assert not any(f"({why}" in text for why in LeftOut for text in told if why is not LeftOut.SET_UP)
    assert "a: 374 kernels in prefill (ran a different number of times)" in told
    assert "a: 374 kernels in prefill (not selected by --phase)" in told


def test_one_module_is_no_plural() -> None:
    found = answer(TraceDiff(a=side(), b=side(), rows=(row(),)))
    assert "(of 1 module)" in next(fact.text for fact in facts(found) if fact.label == "chain")
