"""The lines that reports for people show."""

from dataclasses import replace

from tests.diff.tables import table
from tracediff.diff import diff_tables
from tracediff.measured import Bits, ModuleBits
from tracediff.report.diff.lines import bits_in_words, lines
from tracediff.report.words import change, duration


def measured(equal, ulp=None):
    return Bits(equal=equal, share=0.0 if equal else 0.1, max_ulp=ulp)


def rows(*evidence):
    kernels = [("prefill", f"model.layers.{layer}.mlp", "k") for layer in range(len(evidence))]
    diff = diff_tables(table(kernels), table(kernels))
    return [replace(row, evidence=each) for row, each in zip(diff.rows, evidence, strict=True)]


def test_a_folded_line_tells_the_largest_difference_of_all_its_layers():
    words = bits_in_words(
        rows(
            ModuleBits(isolated=measured(False, 23), propagated=measured(True)),
            ModuleBits(isolated=measured(False, 79), propagated=measured(False, 5)),
        )
    )
    assert words == "equal inputs: bits differ (≤ 79 ULP); in the run: bits differ in 1 of 2 (≤ 5 ULP)"


def test_nothing_measured_is_nothing_said():
    assert bits_in_words(rows(None, None)) == ""


def test_the_reason_is_not_repeated_as_a_change():
    a, b = table([("p", "m", "k")], grid=(1, 1, 1)), table([("p", "m", "k")], grid=(2, 1, 1))
    (line,) = lines(diff_tables(a, b))
    assert line.reason
    assert not line.change.endswith(line.reason)


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
