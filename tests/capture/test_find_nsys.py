"""nsys is found where it usually lies, and what it lacks is named."""

import pytest

from tracediff.capture.find_nsys import how_to_get, importer_of, missing_libraries, nsys_candidates, read_version
from tracediff.errors import TracediffError


def program(path, body='echo "NVIDIA Nsight Systems version 2025.3.2.367-253235930758v0"'):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """No nsys of this machine's own."""
    for name in ("TRACEDIFF_NSYS", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


@pytest.mark.parametrize(
    "place",
    [
        "opt/nvidia/nsight-systems/2025.3.1/bin/nsys",
        "opt/nvidia/nsight-systems-cli/2024.2.1/target-linux-x64/nsys",
        "usr/local/cuda-12.4/bin/nsys",
        "opt/nvidia/nsight-compute/2025.3.1/host/target-linux-x64/nsys",
        "usr/local/cuda/nsight-compute-2024.1/host/target-linux-sbsa-armv8/nsys",
    ],
)
def test_it_is_found_in_the_usual_places(tmp_path, place):
    nsys = program(tmp_path / place)
    assert nsys_candidates(root=tmp_path) == [nsys]


def test_newer_goes_before_older_and_nsight_systems_before_nsight_compute(tmp_path):
    compute = program(tmp_path / "opt/nvidia/nsight-compute/2026.1.0/host/target-linux-x64/nsys")
    old = program(tmp_path / "opt/nvidia/nsight-systems/2023.4.4/bin/nsys")
    new = program(tmp_path / "opt/nvidia/nsight-systems/2023.10.1/bin/nsys")
    assert nsys_candidates(root=tmp_path) == [new, old, compute]


def test_the_one_on_path_goes_first_and_is_listed_once(tmp_path):
    real = program(tmp_path / "opt/nvidia/nsight-systems/2025.1/bin/nsys")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nsys").symlink_to(real)
    assert nsys_candidates(root=tmp_path) == [tmp_path / "bin/nsys"]


def test_a_named_one_is_the_only_one(tmp_path, monkeypatch):
    named, other = program(tmp_path / "mine"), program(tmp_path / "other")
    program(tmp_path / "bin/nsys")
    monkeypatch.setenv("TRACEDIFF_NSYS", str(other))
    assert nsys_candidates(root=tmp_path) == [other]
    assert nsys_candidates(named, root=tmp_path) == [named]


def test_a_relative_name_works_from_any_folder(tmp_path, monkeypatch):
    nsys = program(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert nsys_candidates(nsys.relative_to(tmp_path)) == [nsys]


@pytest.mark.parametrize("kind", ["missing", "folder", "text"])
def test_a_named_one_that_is_no_program_is_one_line(tmp_path, kind):
    path = tmp_path / "nsys"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("no program")
    with pytest.raises(TracediffError, match="is no program"):
        nsys_candidates(path)


def test_the_version_is_read(tmp_path):
    nsys = read_version(program(tmp_path / "nsys"))
    assert nsys.version == "2025.3.2.367"
    assert nsys.release == (2025, 3, 2)


def test_another_program_is_not_taken_for_nsys(tmp_path):
    with pytest.raises(TracediffError, match="is not nsys"):
        read_version(program(tmp_path / "nsys", "echo ls 9.1"))


def test_a_missing_library_is_named_with_its_package(tmp_path, monkeypatch):
    nsys = program(tmp_path / "opt/nsys", "echo error while loading shared libraries >&2; exit 127")
    program(tmp_path / "bin/ldd", "echo '\tlibdw.so.1 => not found'; echo '\tlibc.so.6 => /lib/libc.so.6 (0x7)'")
    with pytest.raises(TracediffError, match=r"libdw\.so\.1 not found; apt install libdw1"):
        read_version(nsys)


def test_a_complete_program_misses_nothing():
    assert missing_libraries("/bin/sh") == []


def test_libraries_of_unknown_packages_get_general_advice():
    assert "LD_LIBRARY_PATH" in how_to_get(["libunknown.so.9"])


def test_the_importer_lies_in_a_folder_beside(tmp_path):
    nsys = program(tmp_path / "host/target-linux-x64/nsys")
    assert importer_of(nsys) is None
    importer = program(tmp_path / "host/linux-desktop-glibc_2_11_3-x64/QdstrmImporter")
    assert importer_of(nsys) == importer
