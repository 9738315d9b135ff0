"""A recording that nsys's importer rejected is imported again; a report that a failed import left is none."""

import pytest

from tracediff.capture.import_again import import_again


@pytest.fixture
def importer(tmp_path):
    """Return a function that puts an importer beside an nsys: it fails so often before it works."""

    def make(failures):
        program = tmp_path / "nsys" / "host" / "QdstrmImporter"
        program.parent.mkdir(parents=True)
        program.write_text(
            "#!/bin/sh\n"
            'input="${1#--input-file=}" output="${2#--output-file=}"\n'
            f'echo tried >> "{tmp_path}/tries"\n'
            'cat "$input" > "$output"\n'
            f'test $(wc -l < "{tmp_path}/tries") -gt {failures}\n'
        )
        program.chmod(0o755)
        return tmp_path / "nsys" / "target" / "nsys"

    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "record.qdstrm").write_text("recorded")
    return make


def tries(tmp_path):
    made = tmp_path / "tries"
    return len(made.read_text().splitlines()) if made.exists() else 0


@pytest.mark.parametrize("failures", [0, 2])
def test_it_is_tried_until_it_works(importer, tmp_path, failures):
    import_again(importer(failures), tmp_path / "recordings", {})
    assert (tmp_path / "recordings" / "record.nsys-rep").read_text() == "recorded"
    assert tries(tmp_path) == failures + 1


def test_what_a_failed_import_wrote_is_removed_and_the_recording_stays(importer, tmp_path):
    import_again(importer(99), tmp_path / "recordings", {})
    assert [path.name for path in (tmp_path / "recordings").iterdir()] == ["record.qdstrm"]
    assert 1 < tries(tmp_path) < 10


def test_a_report_of_nsys_own_is_left_alone(importer, tmp_path):
    (tmp_path / "recordings" / "record.nsys-rep").write_text("of nsys")
    import_again(importer(0), tmp_path / "recordings", {})
    assert (tmp_path / "recordings" / "record.nsys-rep").read_text() == "of nsys"
    assert tries(tmp_path) == 0


def test_without_an_importer_nothing_is_done(tmp_path):
    (tmp_path / "record.qdstrm").write_text("recorded")
    import_again(tmp_path / "alone" / "nsys", tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["record.qdstrm"]
