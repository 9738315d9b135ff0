"""What is finished of a long measurement: whole lines count, a cut one is dropped only where the file goes on."""

import pytest

from tracediff.errors import TracediffError
from tracediff.measure.json_lines import JsonLines
from tracediff.measure.part_file import PartFile


@pytest.fixture
def cut(tmp_path):
    """A file whose last line an interruption has cut."""
    lines = JsonLines(tmp_path / "m.json.part")
    lines.start({"asked": {"keys": [1, 2]}})
    lines.append({"piece": "größer"})
    with lines.path.open("a") as file:
        file.write('{"piece": "ha')
    return lines


def test_whole_lines_are_read_and_reading_changes_nothing(cut):
    before = cut.path.read_bytes()
    assert cut.read() == [{"asked": {"keys": [1, 2]}}, {"piece": "größer"}]
    assert cut.path.read_bytes() == before


def test_a_file_goes_on_behind_its_last_whole_line(cut):
    cut.drop_cut_line()
    cut.append({"piece": 3})
    assert cut.read()[1:] == [{"piece": "größer"}, {"piece": 3}]


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "a\x1cb\n", "\ud800"])
def test_a_text_that_some_take_for_two_lines_or_for_none_is_one(tmp_path, text):
    lines = JsonLines(tmp_path / "m.json.part")
    lines.start({"asked": {}})
    lines.append({"token": text})
    assert lines.read() == [{"asked": {}}, {"token": text}]


def test_a_line_nested_too_deeply_is_damage(tmp_path):
    path = tmp_path / "m.json.part"
    path.write_text('{"asked": {}}\n' + "[" * 100_000 + "\n")
    with pytest.raises(TracediffError, match="is damaged"):
        PartFile.open(tmp_path / "m.json", {}, None, force=False)


@pytest.mark.parametrize("line", ["3", "[]", '"machine"', "null"])
def test_a_line_that_is_no_object_is_damage(tmp_path, line):
    (tmp_path / "m.json.part").write_text('{"asked": {}}\n' + line + "\n")
    with pytest.raises(TracediffError, match="is damaged"):
        PartFile.open(tmp_path / "m.json", {}, None, force=False)


def test_a_file_of_another_measurement_is_left_as_it_is(cut, tmp_path):
    before = cut.path.read_bytes()
    with pytest.raises(TracediffError, match="other options"):
        PartFile.open(tmp_path / "m.json", {"keys": (3,)}, None, force=False)
    assert cut.path.read_bytes() == before


def test_a_measurement_that_ended_before_its_first_piece_blocks_no_other(tmp_path):
    PartFile.open(tmp_path / "m.json", {"keys": 1}, None, force=False).runs_on({"gpu": "A"})
    other = PartFile.open(tmp_path / "m.json", {"keys": 2}, None, force=False)
    other.runs_on({"gpu": "B"})
    other.add("piece", 7)
    again = PartFile.open(tmp_path / "m.json", {"keys": 2}, None, force=False)
    assert (again.machine, again.pieces("piece", int)) == ({"gpu": "B"}, [7])


def test_without_a_path_nothing_is_kept():
    lines = JsonLines(None)
    lines.start({"a": 1})
    lines.append({"b": 2})
    lines.drop_cut_line()
    lines.remove()
    assert lines.read() == []
