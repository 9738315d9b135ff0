"""Many traces at a glance: the modules of one kind in one row, a column per trace."""

from tests.diff.rules.make import nvjet
from tests.diff.test_attached_evidence import row
from tracediff.diff.many import ManyRow
from tracediff.diff.many_overview import many_overview
from tracediff.diff.standing import Standing

Q = "model.layers.{}.self_attn.q_proj"


def many(*columns, module=Q, layer=0, phase="prefill"):
    """A module that ran split 3 in the first trace and these factors in the others; None where it did not run."""
    rows = tuple(
        None if factor is None else row(module.format(layer), nvjet(3), nvjet(factor), layer) for factor in columns
    )
    return ManyRow(phase=phase, layer=layer, module=module.format(layer), rows=rows)


def test_layers_and_steps_of_one_kind_share_a_group_whatever_each_of_them_ran():
    rows = [many(3, 2, layer=layer, phase=phase) for layer in (0, 1) for phase in ("decode[0]", "decode[1]")]
    rows.append(many(2, 2, layer=2, phase="decode[0]"))
    (section,) = many_overview(rows)
    (group,) = section.groups
    assert (section.name, group.name, len(group.reference)) == ("decode", "q_proj", 5)


def test_a_trace_is_told_by_its_worst_modules():
    (section,) = many_overview([many(2, 3, layer=0), many(3, 3, layer=1), many(2, 3, layer=2)])
    first, second = section.groups[0].traces
    assert (first.standing, [each.layer for each in first.worst], len(first.rows)) == (Standing.CAN_DIFFER, [0, 2], 3)
    assert (second.standing, len(second.worst)) == (Standing.SAME, 3)
    assert section.groups[0].standing is Standing.CAN_DIFFER


def test_a_trace_without_the_module_has_no_standing():
    (section,) = many_overview([many(None, 3)])
    assert [trace.standing for trace in section.groups[0].traces] == [None, Standing.SAME]
    assert len(section.groups[0].reference) == 1


def test_groups_keep_the_order_of_the_run_and_can_be_had_worst_first():
    equal = many(3, module="model.layers.{}.self_attn.k_proj")
    (section,) = many_overview([equal, many(2)])
    assert [group.name for group in section.groups] == ["k_proj", "q_proj"]
    assert [group.name for group in section.worst_first] == ["q_proj", "k_proj"]


def test_unfolded_each_module_is_its_own_group():
    (section,) = many_overview([many(2, layer=0), many(2, layer=1)], unfold=True)
    assert [group.name for group in section.groups] == [Q.format(0), Q.format(1)]


def test_kernels_outside_every_range_come_last():
    outside = many(2, phase=None, module="", layer=None)
    assert [section.name for section in many_overview([outside, many(2)])] == ["prefill", None]
