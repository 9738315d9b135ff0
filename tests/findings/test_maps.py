"""Maps: what they hold, what they say, and how two of them compare."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.findings.maps import batch_map, forward, module
from tracediff.errors import TracediffError
from tracediff.findings.map_head import is_map
from tracediff.findings.maps import module_from, module_to_json, read_map
from tracediff.findings.maps_classes import (
    causes_of_break,
    cheapest_padding,
    classes_of,
    forbidding,
    prediction_table,
    ranges_in_words,
    rows_to_pad,
)
from tracediff.findings.maps_compare import Gate, compare_maps, gates_named

MAPS = sorted((Path(__file__).parents[2] / "profiles" / "maps").glob("*.json"))
letters = st.text(alphabet="abc?", min_size=1, max_size=12)


@given(letters)
def test_two_counts_share_a_class_exactly_where_their_bits_are_equal(bits):
    found = classes_of(module(bits))
    assert sorted([*found.varying, *(rows for members in found.equal for rows in members)]) == list(
        range(1, len(bits) + 1)
    )
    for a, b in combinations(range(1, len(bits) + 1), 2):
        equal = bits[a - 1] == bits[b - 1] != "?"
        assert (found.place(a) is not None and found.place(a) == found.place(b)) == equal


def test_counts_that_vary_from_run_to_run_are_in_no_class_and_not_invariant():
    found = classes_of(module("aa?a"))
    assert found.equal == ((1, 2, 4),)
    assert found.varying == (3,)
    assert not found.invariant
    assert classes_of(module("aaa")).invariant


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], ""),
        ([7], "7"),
        ([1, 2, 8, 64], "1–2, 8, 64"),
        ([*range(1, 33), *range(40, 65, 8), 80, 96, 112, 128], "1–32, 40–64 by 8, 80–128 by 16"),
        ([9, 11, 13, 14, 24, 32], "9, 11, 13–14, 24, 32"),
        ([8, 1, 4, 2], "1–2, 4, 8"),
    ],
)
def test_row_counts_are_written_as_ranges_with_their_step(rows, words):
    assert ranges_in_words(rows) == words


@given(st.sets(st.integers(1, 300)))
def test_the_words_of_row_counts_name_these_counts_and_no_other(rows):
    named = []
    for part in filter(None, ranges_in_words(rows).split(", ")):
        ends, _, step = part.partition(" by ")
        first, _, last = ends.partition("–")
        named += range(int(first), int(last or first) + 1, int(step or 1))
    assert named == sorted(rows)


@given(letters, st.lists(st.integers(1, 12), min_size=1), st.lists(st.integers(1, 100), min_size=12, max_size=12))
def test_padding_gives_every_wanted_count_the_same_bits_and_never_fewer_rows(bits, wanted, ns):
    one = module(bits, ns=ns[: len(bits)])
    padding = cheapest_padding(one, wanted)
    reachable = {letter for place, letter in enumerate(bits, 1) if letter != "?" and place >= max(wanted)}
    assert (padding is None) == (not reachable)
    if padding is not None:
        assert set(padding.to) == set(wanted)
        assert len({bits[target - 1] for target in padding.to.values()}) == 1
        assert all(target >= rows for rows, target in padding.to.items())
        assert padding.more_rows == pytest.approx(sum(padding.to.values()) / sum(set(wanted)) - 1)


def test_the_cheapest_class_is_chosen_by_time_not_by_rows():
    # Class a pads to 4 rows at 90 ns, class b to 5 rows at 40 ns.
    found = cheapest_padding(module("cdeab", ns=[10, 10, 10, 90, 40]), [1, 2, 3, 4])
    assert set(found.to.values()) == {5}
    assert found.more_time == pytest.approx(160 / 120 - 1)


def test_padding_is_told_in_stretches():
    found = cheapest_padding(module("abbaca"), [1, 2, 3, 4, 5, 6])
    assert found.steps == (((2, 3), 4), ((5,), 6))


def test_buckets_are_the_only_counts_that_are_run():
    assert cheapest_padding(module("aaaa"), [1, 2, 3], buckets=[2]) is None
    assert cheapest_padding(module("aaaa"), [1, 2, 3], buckets=[2, 4]).to == {1: 2, 2: 2, 3: 4}


def test_what_padding_costs_is_told_of_the_counts_that_were_timed():
    found = cheapest_padding(module("aba", rows=[1, 3, 4], ns=[10, 15, 20]), [1, 2, 3, 4])
    assert found.to == {1: 1, 2: 4, 3: 4, 4: 4}
    assert found.unmeasured == (2,)
    assert found.pads_measured
    assert not cheapest_padding(module("aa", rows=[1, 4]), [1, 2, 4]).pads_measured
    assert found.more_time == pytest.approx(50 / 45 - 1)
    assert found.timed == 3


def test_a_range_is_padded_at_every_count_measured_or_not():
    assert rows_to_pad(module("aab", rows=[1, 2, 40]), None, None) == list(range(1, 41))
    assert rows_to_pad(module("ab", rows=[1, 512]), None, None) == list(range(1, 65))
    assert rows_to_pad(module("ab", rows=[1, 512]), None, [4, 8]) == list(range(1, 9))


def test_a_break_is_put_down_to_the_modules_that_change_there():
    orders = ["split-K 3", "split-K 3", "split-K 2"]
    found = batch_map(
        forward("aab"),
        module("aab", name="q_proj", orders=orders),
        module("aaa", name="k_proj", orders=orders),
        module("aab", name="attention", kind="attention", keys=2000),
    )
    causes = causes_of_break(found, 2, 3, keys=300)
    assert [(cause.module.name, cause.why) for cause in causes] == [("q_proj", "split-K 3 → split-K 2")]


def test_the_module_that_no_padding_helps_is_named():
    found = batch_map(forward("?"), module("aa"), module("?a?", name="attention", kind="attention", keys=300))
    assert [each.name for each in forbidding(found, [1, 2, 3], 300)] == ["q_proj", "attention"]
    assert [each.name for each in forbidding(found, [1, 2], 300)] == []


def test_predictions_are_counted_against_bits_step_by_step():
    one = module("aab?b", predicted="same-order")
    assert prediction_table(batch_map(one)) == {"same-order": (1, 1)}


@given(letters)
def test_a_module_is_read_back_as_it_was_written(bits):
    one = module(bits, orders=[None, *"x" * (len(bits) - 1)], kernels=("k", "l"), predicted="unknown", reason="r")
    assert module_from(json.loads(json.dumps(module_to_json(one)))) == one


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.stem)
def test_measured_maps_are_read_and_no_prediction_of_equal_bits_was_wrong(path):
    found = read_map(path)
    assert is_map(path)
    assert len(found.parts) >= 12
    table = prediction_table(found)
    assert table["same-kernels"][0] + table["same-order"][0] > 1000
    assert table["same-kernels"][1] == table["same-order"][1] == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("machine"),
        lambda data: data["modules"][0].update(rows=[2, 1]),
        lambda data: data["modules"][0].update(rows=[1]),
        lambda data: data["modules"][0]["bits"].update(index=[0, 9]),
        lambda data: data["modules"][0]["bits"].update(index=["x", 0]),
        lambda data: data["modules"][0].update(nanoseconds=[1]),
        lambda data: data["modules"][0]["kernels"].update(index=[-1, 0]),
        lambda data: data["modules"][0]["kernels"].update(values=["text"]),
        lambda data: data["modules"][0].update(keys=-1),
        lambda data: data["modules"][0].update(rows=[1.5, 2]),
        lambda data: data.update(model=3),
        lambda data: data.update(machine={"gpu": 3}),
        lambda data: data.update(layers="all"),
        lambda data: data.update(modules=None),
        lambda data: data.update(schema=99),
    ],
)
def test_a_damaged_map_is_one_line_that_names_the_file(tmp_path, damage):
    data = batch_map(forward("ab")).to_dict()
    damage(data)
    path = tmp_path / "map.json"
    path.write_text(json.dumps(data))
    with pytest.raises(TracediffError, match=r"map\.json"):
        read_map(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", '{"kind": "flips"}', "[" * 100_000])
def test_what_is_no_map_is_told_apart_and_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert not is_map(path)
    with pytest.raises(TracediffError):
        read_map(path)


@pytest.mark.parametrize("content", [b'{"kind": "map", "\xff": 1}', b"\xff\xfe{\0}\0", b'{"kind": "map", "x": NaN}'])
def test_what_no_json_holds_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(TracediffError, match="it is not JSON"):
        read_map(path)


def test_bits_of_two_maps_compare_only_on_the_same_inputs():
    a = batch_map(module("aab"))
    same, other = compare_maps(a, batch_map(module("aac"))), compare_maps(a, batch_map(module("aac", inputs="y")))
    assert same.changes[0].bits_changed == (3,)
    assert other.changes[0].bits_changed is None
    with pytest.raises(TracediffError, match="bits could be compared"):
        other.failing([Gate.BITS])
    assert other.failing([Gate.UNKNOWN]) == {Gate.UNKNOWN: 1}
    assert "not compared" in other.warnings[0]


def test_bits_that_were_hashed_in_two_ways_are_not_compared():
    diff = compare_maps(batch_map(module("aab")), batch_map(module("xxy"), hashed="other"))
    assert diff.changes[0].bits_changed is None
    assert not diff.changes[0].classes_changed
    assert "hashed" in diff.warnings[0]


def test_classes_compare_on_any_inputs_and_name_a_pair_that_moved():
    change = compare_maps(batch_map(module("aab")), batch_map(module("xyy", inputs="y"))).changes[0]
    assert change.split_apart == (1, 2)
    assert change.joined == (2, 3)
    assert change.classes_changed
    same = compare_maps(batch_map(module("aab")), batch_map(module("xxy", inputs="y"))).changes[0]
    assert not same.classes_changed


@given(letters, letters)
def test_classes_are_the_same_exactly_where_every_pair_agrees(first, second):
    length = min(len(first), len(second))
    a, b = first[:length], second[:length]
    change = compare_maps(batch_map(module(a)), batch_map(module(b))).changes[0]
    steady = [place for place in range(length) if a[place] != "?" and b[place] != "?"]
    moved = any((a[x] == a[y]) != (b[x] == b[y]) for x, y in combinations(steady, 2))
    varying = [place for place in range(length) if a[place] == "?"] != [p for p in range(length) if b[p] == "?"]
    assert change.classes_changed == (moved or varying)


def test_an_order_that_changed_is_counted_and_shown():
    diff = compare_maps(
        batch_map(module("aa", orders=["split-K 3", "split-K 3"], ns=[10, 10])),
        batch_map(module("aa", orders=["split-K 3", "unsplit"], ns=[10, 20])),
    )
    change = diff.changes[0]
    assert change.order_changed == (2,)
    assert change.example == (2, "split-K 3", "unsplit")
    assert change.time_ratio == 1.5
    assert diff.failing([Gate.ORDER, Gate.BITS]) == {Gate.ORDER: 1}


def test_a_module_that_one_map_lacks_fails_the_gate_of_the_unknown():
    diff = compare_maps(batch_map(module("aa"), module("aa", name="o_proj")), batch_map(module("aa")))
    assert diff.only_a == ("o_proj",)
    assert diff.failing([Gate.UNKNOWN]) == {Gate.UNKNOWN: 1}


def test_maps_without_a_common_module_are_refused():
    with pytest.raises(TracediffError, match="no module"):
        compare_maps(batch_map(module("aa")), batch_map(module("aa", name="o_proj")))


def test_gates_are_named_in_one_word_or_many_and_others_refused():
    assert gates_named(["bits,order", "bits"]) == (Gate.BITS, Gate.ORDER)
    with pytest.raises(TracediffError, match="order-changed"):
        gates_named(["order-changed"])
