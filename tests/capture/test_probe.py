"""An nsys that cannot do the whole of it is told in one line, before anything takes time."""

import os
from pathlib import Path

import pytest

from tracediff.capture import probe as probing
from tracediff.capture.find_nsys import Nsys
from tracediff.errors import TracediffError

OLD, NEW = (Nsys(path=Path("/opt/nsys"), version=version) for version in ("2024.2.1.106", "2025.3.2.367"))


def result(nsys, problem=None):
    return probing.Probe(nsys=nsys, records=True, imports=not problem, sees_ranges=not problem, problem=problem)


@pytest.fixture
def tried(monkeypatch):
    """Set what each nsys of this machine turns out to be."""

    def set_results(*results):
        by_path = {Path(f"/{index}"): each for index, each in enumerate(results)}
        monkeypatch.setattr(probing, "nsys_candidates", lambda _named: list(by_path))

        def read(path):
            if isinstance(by_path[path], TracediffError):
                raise by_path[path]
            return by_path[path]

        monkeypatch.setattr(probing, "read_version", read)
        monkeypatch.setattr(probing, "probe", lambda each, _environment: each)

    return set_results


def test_the_first_that_works_is_chosen(tried):
    tried(TracediffError("does not run"), result(OLD, "cannot import"), result(NEW))
    assert probing.choose_nsys({}) == result(NEW)


def test_where_none_works_the_first_that_runs_says_why(tried):
    tried(TracediffError("does not run"), result(OLD, "cannot import"), result(NEW, "cannot export"))
    assert probing.choose_nsys({}).problem == "cannot import"


def test_where_none_runs_the_first_says_why(tried):
    tried(TracediffError("/a does not run", "libdw.so.1 not found"), TracediffError("/b does not run"))
    with pytest.raises(TracediffError, match=r"/a does not run: libdw\.so\.1 not found"):
        probing.choose_nsys({})


def test_where_there_is_none_it_says_how_to_get_one(tried):
    tried()
    with pytest.raises(TracediffError, match="nsys was not found: install Nsight Systems"):
        probing.choose_nsys({})


def test_an_old_nsys_and_a_new_nvtx_do_not_fit(monkeypatch):
    monkeypatch.setattr(probing, "package_version", lambda _name: "0.2.17")
    assert probing.why_no_ranges(OLD) == (
        "nsys 2024.2.1.106 does not see the ranges of the Python package nvtx 0.2.17",
        "pip install 'nvtx<=0.2.11', or use nsys 2025 or later",
    )
    assert "nvtx<=" not in probing.why_no_ranges(NEW)[1]


def test_without_nvtx_that_is_what_is_missing(monkeypatch):
    monkeypatch.setattr(probing, "package_version", lambda _name: None)
    told = probing.probe(NEW, {})
    assert (told.works, told.problem) == (False, "the Python package nvtx is missing")


# What the importer of nsys 2023.4 printed of a damaged recording.
IMPORTER_ERROR = r"""**** Analysis failed with:
Status: TargetProfilingFailed
Error {
  Type: RuntimeError
  SubError {
    Type: ProcessEventsError
    Props {
      Items {
        Type: ErrorText
        Value: "/dvs/ProtobufUtils.cpp(73): Throw in function void QuadDProtobufUtils::ReadMessage()\nDynamic exception type: boost::wrapexcept<QuadDCommon::ProtobufParseException>\nstd::exception::what: ProtobufParseException\n"
      }
    }
  }
}
**** Errors occurred while processing the raw events. ****
"""  # noqa: E501


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "it printed nothing"),
        ("one\ntwo\n", "two"),
        ("Importer error status: it broke.\nGenerated:\n    /tmp/x\n", "Importer error status: it broke."),
        ("[1/1] 0%\r[1/1] 100%\r", "[1/1] 100%"),
        ("error: \x1b[31mred", "error: \\x1b[31mred"),
        (IMPORTER_ERROR, "ProtobufParseException"),
        (
            IMPORTER_ERROR.replace("/dvs/", "Wrong event order has been detected:\\n/dvs/").replace("what", "w"),
            "Wrong event order has been detected:",
        ),
        ("Error {\n  Type: RuntimeError\n  SubError {\n    Type: NotFound\n", "Type: RuntimeError"),
    ],
)
def test_the_line_that_says_something_is_told(output, words):
    assert probing.last_words(output) == words


@pytest.mark.nsys
def test_ranges_that_a_real_nsys_does_not_see_are_noticed(nsys, monkeypatch):
    monkeypatch.setattr(probing, "_PROGRAM", "import nvtx")
    told = probing.probe(nsys, dict(os.environ))
    assert (told.records, told.imports, told.sees_ranges) == (True, True, False)
    assert "does not see the ranges" in told.problem
