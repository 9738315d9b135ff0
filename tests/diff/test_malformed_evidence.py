"""An evidence.json that is not what it should be is a warning and no evidence, never an error in a report."""

import copy
import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.diff.test_attached_evidence import diff, stored
from tests.profiles import FLOAT16
from tracediff.diff import diff_tables
from tracediff.diff.evidence import attach_evidence
from tracediff.diff.summary import summarise
from tracediff.measured import MalformedEvidenceError, check_evidence
from tracediff.report.diff.html import render_html
from tracediff.report.diff.json import diff_to_json
from tracediff.report.diff.markdown import diff_to_markdown
from tracediff.report.diff.terminal import print_diff
from tracediff.trace import read_trace

REAL = json.loads((FLOAT16 / "evidence.json").read_text())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw, document):
    """Replace or drop a few values anywhere in a document."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        holder, key, depth = None, None, draw(st.integers(1, 7))
        value = document
        while depth and isinstance(value, (dict, list)) and value:
            holder = value
            keys = list(value) if isinstance(value, dict) else list(range(len(value)))
            key = draw(st.sampled_from(keys))
            value, depth = value[key], depth - 1
        if holder is None:
            return draw(VALUES)
        if draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(VALUES)
    return document


def reports(found):
    """Return what every report makes of a diff."""
    console = Console(width=100, record=True, quiet=True)
    print_diff(found, console)
    texts = *summarise(found), diff_to_json(found), diff_to_markdown(found), render_html(found)
    return "".join(texts).encode("utf-8", "surrogatepass")


@given(document=mutated(stored()))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_report_stands_whatever_the_file_holds(tmp_path, document):
    (tmp_path / "evidence.json").write_text(json.dumps(document))
    found = attach_evidence(diff(tmp_path))
    if found.evidence is None:
        assert all("evidence.json" in warning and "\n" not in warning for warning in found.warnings)
        assert len(found.warnings) <= 1
    assert reports(found)


@pytest.fixture(scope="module")
def real_rows():
    return diff_tables(*(read_trace(FLOAT16 / f"b{batch}.sqlite") for batch in (1, 2)))


@given(document=mutated(REAL))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_real_file_with_other_values_never_breaks_the_words(tmp_path, real_rows, document):
    (tmp_path / "evidence.json").write_text(json.dumps(document))
    sides = [replace(side, info=replace(side.info, path=str(tmp_path / "b"))) for side in (real_rows.a, real_rows.b)]
    found = attach_evidence(replace(real_rows, a=sides[0], b=sides[1]))
    assert found.evidence is not None or len(found.warnings) <= 1
    assert all(summarise(found))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"controls": [1]}, "controls: an object is expected, not [1]"),
        ({"controls": {"neighbours": 3}}, "controls.neighbours: an object is expected, not 3"),
        ({"tokens": True}, "tokens: a whole number is expected, not true"),
        ({"notes": [None]}, "notes: text is expected, not null"),
        ({"batches": [1, -2]}, "batches: a whole number is expected, not -2"),
        ({"schema": 2}, "it has schema 2, this version reads 1"),
    ],
)
def test_the_place_and_the_kind_of_the_fault_are_named(change, where):
    with pytest.raises(MalformedEvidenceError) as caught:
        check_evidence({**stored(), **change})
    assert str(caught.value) == where


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"repair": {"minimal": [1, 2], "logits_equal": True}}, "pairs[0].repair.minimal: text is expected, not 1"),
        ({"logits": {"prefill": [float("nan"), 1]}}, "pairs[0].logits: a share from 0 to 1 is expected, not NaN"),
        ({"tokens": {"prefill": [1]}}, "pairs[0].tokens: a list of 2 is expected, not [1]"),
        ({"modules": {"prefill": {"m": [True, False]}}}, "pairs[0].modules: a list of 2 is expected, not false"),
    ],
)
def test_a_fault_in_a_pair_is_named_too(change, where):
    document = stored()
    document["pairs"][0].update(change)
    with pytest.raises(MalformedEvidenceError) as caught:
        check_evidence(document)
    assert str(caught.value) == where


@pytest.mark.parametrize("text", ["[" * 100_000, "", "null", "9" * 5000, '{"schema": 1}', "\ufeff{}"])
def test_what_is_no_such_document_is_one_warning(tmp_path, text):
    (tmp_path / "evidence.json").write_text(text)
    found = attach_evidence(diff(tmp_path))
    assert found.evidence is None
    assert len(found.warnings) == 1


def test_the_real_files_are_read_whole():
    for folder in (FLOAT16.parent / name for name in ("llama-3-8b-float16", "llama-3-8b-bfloat16")):
        read = check_evidence(json.loads((folder / "evidence.json").read_text()))
        assert [pair.batches for pair in read.pairs] == [(1, 2), (1, 8)]
        assert read.controls["neighbours"].equal is True
        assert len(read.pairs[0].modules["prefill"]) > 300
