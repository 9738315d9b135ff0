"""A diff at a glance: phases of one name together, modules that changed alike together, worst first."""

from tests.changed import replace
from tests.diff.rules.make import kernel, nvjet
from tests.diff.test_attached_evidence import row
from tracediff.diff.overview import overview
from tracediff.diff.standing import Standing

Q = "model.layers.{}.self_attn.q_proj"


def split(before, after, layer=0, **other):
    return row(Q.format(layer), nvjet(before), nvjet(after, **other), layer)


def test_steps_of_one_phase_share_a_section_and_kernels_outside_ranges_stand_last():
    one = split(3, 2)
    rows = [
        replace(one, phase=None, layer=None),
        replace(one, phase="run", layer=None),
        *(replace(one, phase=phase) for phase in ("prefill", "decode[0]", "decode[1]")),
    ]
    assert [(section.name, section.phases) for section in overview(rows)] == [
        ("prefill", ("prefill",)),
        ("decode", ("decode[0]", "decode[1]")),
        ("run", ("run",)),
        (None, (None,)),
    ]


def test_a_factor_has_changed_only_where_both_are_known_and_differ():
    elementwise = kernel("e", role="elementwise")
    rows = [split(3, 2), split(3, 3, 1), split(1, 4, 2), row("model.act", elementwise, elementwise)]
    (section,) = overview(rows)
    assert section.factor_changed == 2


def test_a_section_adds_up_what_its_rows_launched():
    rows = [split(3, 2), split(3, 2, 1)]
    (section,) = overview(rows)
    assert section.kernels == (2, 2)
    assert section.splitk_reduce == (0, 0)
    assert section.duration_ns == tuple(sum(each.duration_ns[side] for each in rows) for side in (0, 1))


def test_layers_are_told_together_only_where_the_same_kernels_decided():
    alike = [split(3, 2, 0), split(3, 2, 1)]
    other = split(3, 2, 2, tile=(64, 16, 64))
    (section,) = overview([*alike, other])
    assert [group.layers for group in section.groups] == [(0, 1), (2,)]
    assert {group.name for group in section.groups} == {"q_proj"}
    assert section.groups[0].deciding is alike[0].pairs[0]


def test_the_worst_group_stands_first():
    (section,) = overview([split(3, 3), split(3, 2, 1)])
    assert [group.standing for group in section.groups] == [Standing.CAN_DIFFER, Standing.SAME]


def test_kinds_that_share_their_last_name_keep_enough_of_the_path_to_differ():
    rows = [row(f"model.layers.0.{part}.up_proj", nvjet(3), nvjet(2)) for part in ("mlp", "shared")]
    (section,) = overview(rows)
    assert {group.name for group in section.groups} == {"mlp.up_proj", "shared.up_proj"}


def test_what_is_known_of_bits_is_said_in_these_words():
    assert [str(each) for each in Standing] == [
        "predicted equal, measured different bits",
        "measured different bits",
        "bits vary from run to run",
        "different order of summation",
        "cannot tell",
        "measured equal",
        "same order of summation",
        "same kernels",
    ]
