"""Noise is measured first and named; controls say "differs" only where noise cannot explain it. Faults are planted."""

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch  # noqa: E402

from tests.measure import toy  # noqa: E402
from tracediff.measure.crossings import Crossing  # noqa: E402
from tracediff.measure.evidence import measure  # noqa: E402
from tracediff.measure.evidence_file import to_evidence  # noqa: E402
from tracediff.measure.noise import Noise, Varied, compare_arrangements, search_noise, varying  # noqa: E402
from tracediff.measure.replay import Replayed  # noqa: E402
from tracediff.measured import ControlResult, State, decode_evidence, encode_evidence  # noqa: E402

TRIES = 5


def measured_of(batches=(1, 2), recorded_hashes=None, **faults):
    """Measure a toy model with faults."""
    return measure(
        toy.Toy(**faults),
        toy.PROMPT,
        batches,
        toy.DECODE,
        name="toy",
        dtype="float32",
        recorded_hashes=recorded_hashes,
    )


def evidence_of(batches=(1, 2), recorded_hashes=None, **faults):
    """Measure a toy model with faults, and read the evidence as a file gives it."""
    evidence = to_evidence(measured_of(batches, recorded_hashes, **faults))
    assert decode_evidence(encode_evidence(evidence)).unstable == evidence.unstable
    return evidence


class NoiseNowAndThen(toy.ByRow):
    """Gives other bits in one call of six."""

    def forward(self, x):
        return super().forward(x) * (1 + 1e-3 * (torch.rand(()) < 1 / 6))


class LeaksAndVaries(toy.Leaks):
    """Adds a little of the other rows, and noise."""

    def forward(self, x):
        return super().forward(x) * (1 + 1e-3 * torch.rand(()))


class Expert(toy.Leaks):
    """Named as modules are whose shapes depend on the content of all rows."""


@pytest.mark.parametrize("number", range(TRIES))
def test_a_leak_is_told_beside_a_module_that_varies(number):
    evidence = evidence_of(first0=toy.AddsNoise, second1=toy.Leaks)
    neighbours = evidence.controls["neighbours"]
    assert neighbours.answer is ControlResult.DIFFERS
    assert neighbours.first == "batch 2, prefill, layers.1.second_proj"
    assert {each.module for each in evidence.unstable} == {"layers.0.first_proj"}


@pytest.mark.parametrize("number", range(TRIES))
def test_a_leak_alone_is_told_and_nothing_is_unstable(number):
    evidence = evidence_of(second1=toy.Leaks)
    assert evidence.controls["neighbours"].answer is ControlResult.DIFFERS
    assert evidence.controls["run_to_run"].answer is ControlResult.EQUAL
    assert evidence.unstable == ()


@pytest.mark.parametrize("number", range(TRIES))
def test_noise_alone_is_no_leak_and_no_origin(number):
    evidence = evidence_of(first0=toy.AddsNoise)
    for name in ("neighbours", "position"):
        control = evidence.controls[name]
        assert control.answer is ControlResult.CANNOT_TELL
        assert "vary by themselves" in control.why
        assert control.held_out == 3  # one module, three phases
    assert evidence.controls["run_to_run"].answer is ControlResult.DIFFERS
    assert evidence.pairs[0].first_origin is None


@pytest.mark.parametrize("number", range(TRIES))
def test_rare_noise_is_never_a_leak(number):
    evidence = evidence_of(first0=NoiseNowAndThen, second1=NoiseNowAndThen)
    for name in ("neighbours", "position", "profiler"):
        assert evidence.controls[name].answer is not ControlResult.DIFFERS


@pytest.mark.parametrize("number", range(TRIES))
def test_a_leak_in_a_module_that_varies_is_not_told_for_certain(number):
    evidence = evidence_of(first0=LeaksAndVaries)
    assert evidence.controls["neighbours"].answer is ControlResult.CANNOT_TELL


def test_a_clean_model_answers_equal_to_all_that_could_be_compared():
    answers = {name: control.answer for name, control in evidence_of().controls.items()}
    assert answers.pop("profiler") is ControlResult.CANNOT_TELL  # nothing was recorded
    assert set(answers.values()) == {ControlResult.EQUAL}


def test_a_difference_in_modules_that_send_rows_to_experts_is_no_leak():
    control = evidence_of(first1=Expert).controls["neighbours"]
    assert control.answer is ControlResult.CANNOT_TELL
    assert control.why == "first_proj gave different bits, but with experts the shape of products depends on all rows"


def test_a_difference_in_a_kind_of_module_that_varies_elsewhere_is_no_leak():
    control = evidence_of(first0=toy.AddsNoise, first1=toy.Leaks).controls["neighbours"]
    assert control.answer is ControlResult.CANNOT_TELL
    assert control.why == "first_proj gave different bits, but varies by itself in other places"


def test_one_module_that_was_left_out_is_spoken_of_as_one():
    measured = measure(toy.Toy(first0=toy.AddsNoise), toy.PROMPT, (1, 2), (), name="toy", dtype="float32")
    why = measured.controls["neighbours"].why
    assert why == "1 place varies by itself and was left out; all others gave equal bits"


def test_an_unstable_module_says_where_and_how_often_it_varied():
    evidence = evidence_of(first0=toy.AddsNoise)
    assert [(each.phase, each.module, each.batch) for each in evidence.unstable] == [
        (phase, "layers.0.first_proj", batch) for batch in (1, 2) for phase in evidence.phases
    ]
    assert all(1 < each.outcomes <= each.repeats for each in evidence.unstable)
    module = evidence.pairs[0].modules["prefill"]["layers.0.first_proj"]
    assert (module.state, module.isolated) == (State.UNSTABLE, None)


def test_the_repair_is_found_with_unstable_modules_pinned():
    pair = evidence_of(first0=toy.AddsNoise, second1=toy.Reorders).pairs[0]
    assert pair.repair is not None
    assert (pair.repair.minimal, pair.repair.logits_equal) == (("second_proj",), True)
    assert pair.first_origin == ("prefill", "layers.1.second_proj")
    assert not pair.pinned_logits["prefill"].equal


def test_where_noise_alone_moves_logits_no_repair_is_sought():
    pair = evidence_of(first0=toy.AddsNoise).pairs[0]
    assert not pair.logits["prefill"].equal
    assert all(bits.equal for bits in pair.pinned_logits.values())
    assert pair.repair is None


def test_logits_that_move_are_told_with_their_scale_and_the_margin_of_the_token():
    measured = measured_of(second1=toy.Reorders)
    moves = measured.pairs[0].moves
    assert set(moves) == {"prefill", "decode[0]", "decode[1]"}
    for phase, move in moves.items():
        assert 0 < move.max_abs < move.scale
        for batch, margin in zip((1, 2), move.margins, strict=True):
            largest = sorted(measured.logits[f"{batch}/{phase}"].tolist(), reverse=True)
            assert margin == pytest.approx(largest[0] - largest[1])
        assert max(move.top_changes) <= 2 * move.max_abs
    assert evidence_of().pairs[0].moves["prefill"].max_abs == 0


def test_other_bits_under_the_profiler_are_told_only_of_a_run_that_repeats_itself():
    recorded = {"1/prefill": ["0" * 16] * 2}
    assert evidence_of((1,), recorded).controls["profiler"].answer is ControlResult.DIFFERS
    varies = evidence_of((1,), recorded, first0=toy.AddsNoise).controls["profiler"]
    assert varies.answer is ControlResult.CANNOT_TELL
    two_outcomes = {"1/prefill": ["0" * 16, "1" * 16]}
    assert evidence_of((1,), two_outcomes).controls["profiler"].answer is ControlResult.CANNOT_TELL


PLACE, OTHER_PLACE = (Crossing(0, name, 0, is_input=False, maker=name) for name in ("a", "b"))


def replays(*outcomes):
    """Return what replays one after the other, the last one for ever."""
    queue = list(outcomes)
    return lambda: Replayed(row={PLACE: queue.pop(0) if len(queue) > 1 else queue[0], OTHER_PLACE: 0})


def arranged(plain, other, doubted=False):
    first = Replayed(row={PLACE: 1, OTHER_PLACE: 0})
    return compare_arrangements(first, replays(*plain), replays(*other), lambda crossing, reshaped: doubted)


def test_a_difference_between_arrangements_counts_where_it_comes_in_every_repeat():
    assert arranged([1], [2]).differing == (PLACE,)
    assert arranged([1], [1]).differing == ()


def test_a_leak_counts_though_what_leaks_varies_with_the_neighbours():
    assert arranged([1], [2, 3, 4, 2, 5]).differing == (PLACE,)


@pytest.mark.parametrize(("plain", "other"), [([1, 1, 2, 1], [2]), ([1], [2, 2, 2, 1, 2]), ([1, 3], [2, 4])])
def test_what_changes_within_an_arrangement_varies_by_itself(plain, other):
    result = arranged(plain, other)
    assert result.differing == ()
    assert set(result.varied) == {PLACE}


def test_what_is_doubted_is_not_repeated():
    result = arranged([1], [2], doubted=True)
    assert (result.differing, result.doubted, result.varied) == ((), (PLACE,), {})


def test_varying_outcomes_are_counted_with_their_repeats():
    assert varying([{PLACE: 1}, {PLACE: 2}, {PLACE: 1, OTHER_PLACE: 0}]) == {PLACE: Varied(2, 3)}


def test_noise_found_later_takes_a_crossing_from_the_stable_ones():
    noise = Noise(batch=2, row={PLACE: 1, OTHER_PLACE: 2})
    noise.add_varying({PLACE: Varied(2, 11)})
    assert noise.row == {OTHER_PLACE: 2}
    assert [(each.module, each.outcomes, each.repeats) for each in noise.unstable(("prefill",))] == [("a", 2, 11)]


class NoiseOnceIn(toy.ByRow):
    """Gives other bits in every twelfth call: five replays may miss it, whole runs do not."""

    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return super().forward(x) * (1 + 1e-3 * (type(self).calls % 12 == 0))


def test_noise_that_shows_in_whole_runs_alone_is_searched_for_until_its_module_is_found():
    evidence = evidence_of(first0=NoiseOnceIn)
    assert evidence.controls["run_to_run"].answer is ControlResult.DIFFERS
    assert {each.module for each in evidence.unstable} == {"layers.0.first_proj"}
    assert evidence.pairs[0].first_origin is None


def test_a_search_for_noise_ends_where_a_module_varies_and_counts_the_runs(monkeypatch):
    outcomes = iter([1, 1, 7, 1])
    monkeypatch.setattr(
        "tracediff.measure.noise.replay_outcomes", lambda *_: Replayed(whole={PLACE: next(outcomes), OTHER_PLACE: 0})
    )
    noise = Noise(batch=2, row={PLACE: 1, OTHER_PLACE: 0}, whole={PLACE: 1, OTHER_PLACE: 0})
    search_noise(None, None, None, noise)
    assert noise.varied == {PLACE: Varied(2, 8)}
    assert noise.row == {OTHER_PLACE: 0}
    assert next(outcomes) == 1  # no run too many
