"""The traces name the kernels of modules that vary."""

from tests.changed import replace
from tests.profiles import FLOAT16
from tracediff.kernels import parse
from tracediff.measure.blame import with_kernels
from tracediff.measured import Unstable, read_evidence

ATTENTION = Unstable(phase="decode[0]", module="model.layers.3.self_attn", batch=2, outcomes=2, repeats=5)


def test_the_kernels_that_sum_in_an_unstable_module_are_named():
    evidence = replace(read_evidence(FLOAT16 / "evidence.json"), unstable=(ATTENTION, replace(ATTENTION, batch=8)))
    named = with_kernels(evidence, {2: FLOAT16 / "b2.sqlite"})
    first, second = named.unstable
    assert [parse(name).role for name in first.kernels] == ["attention"]
    assert second.kernels == ()  # no trace of that batch size was given
    assert replace(named, unstable=evidence.unstable) == evidence


def test_a_trace_that_cannot_be_read_names_nothing(tmp_path):
    evidence = replace(read_evidence(FLOAT16 / "evidence.json"), unstable=(ATTENTION,))
    (tmp_path / "b2.sqlite").write_text("no trace")
    assert with_kernels(evidence, {2: tmp_path / "b2.sqlite"}) == evidence
