"""A cell of the table of many traces says what ran there, and of how many modules that is true."""

from tests.diff.rules.make import nvjet
from tests.diff.test_attached_evidence import row
from tracediff.diff.many import ManyRow
from tracediff.diff.many_overview import many_overview
from tracediff.report.diff.many_cells import cells


def shown(*columns):
    """The cells of a projection: per layer the kernel of the second trace; None where it did not run."""
    rows = []
    for layer, kernel in enumerate(columns):
        module = f"model.layers.{layer}.self_attn.q_proj"
        compared = None if kernel is None else row(module, nvjet(3), kernel, layer)
        known = row(module, nvjet(3), nvjet(3), layer)
        rows.append(ManyRow(phase="prefill", layer=layer, module=module, rows=(compared, known)))
    (section,) = many_overview(rows)
    return cells(section.groups[0])


def test_the_first_trace_tells_its_kernel_and_the_time_of_all_modules():
    first = shown(nvjet(3), nvjet(3))[0]
    assert (first.standing, first.heading) == (None, "")
    assert "nvjet" in first.lines[0] and len(first.lines) == 2


def test_a_change_in_some_modules_is_counted():
    cell = shown(nvjet(2), nvjet(3), nvjet(2))[1]
    assert cell.heading == "Δ different order of summation in 2 of 3"
    assert "split-K 3 → 2" in cell.lines


def test_a_change_in_all_modules_needs_no_count():
    assert shown(nvjet(2), nvjet(2))[1].heading == "Δ different order of summation"


def test_equal_modules_tell_their_time_alone():
    cell = shown(nvjet(3), nvjet(3))[1]
    assert cell.heading == "· same kernels" and len(cell.lines) == 1


def test_another_kernel_is_named_in_any_case():
    other = nvjet(3, tile=(64, 16, 64))
    assert any("nvjet" in line for line in shown(other, other)[1].lines)


def test_a_trace_that_did_not_run_the_modules_says_so():
    assert shown(None, None)[1].heading == "– not in this trace"
