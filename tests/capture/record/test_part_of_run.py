"""The byte that says which part of the run it is."""

from tracediff.capture.record.part_of_run import PartOfRun


def test_processes_share_which_part_of_the_run_it_is(tmp_path):
    (tmp_path / "part").write_bytes(bytes(1))
    one, other = PartOfRun(str(tmp_path / "part")), PartOfRun(str(tmp_path / "part"))
    one.begin()
    assert other.number == 1
    for _ in range(255):
        other.begin()
    assert one.number == 0
