"""An evidence.json that is not what it should be is a warning and no evidence, never an error in a report."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.changed import replace
from tests.diff.test_attached_evidence import diff, stored
from tests.profiles import FLOAT16
from tracediff.diff import diff_tables
from tracediff.diff.answer import answer
from tracediff.diff.evidence import attach_evidence
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
    texts = answer(found).sentence, diff_to_json(found), diff_to_markdown(found), render_html(found)
    return "".join(texts).encode("utf-8", "surrogatepass")


@pytest.mark.slow
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


@pytest.mark.slow
@given(document=mutated(REAL))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_real_file_with_other_values_never_breaks_the_words(tmp_path, real_rows, document):
    (tmp_path / "evidence.json").write_text(json.dumps(document))
    sides = [replace(side, info=replace(side.info, path=str(tmp_path / "b"))) for side in (real_rows.a, real_rows.b)]
    found = attach_evidence(replace(real_rows, a=sides[0], b=sides[1]))
    assert found.evidence is not None or len(found.warnings) <= 1
    assert answer(found).sentence


@pytest.mark.parametrize("text", ["[" * 100_000, "", "null", "9" * 5000, '{"schema": 1}', "\ufeff{}"])
def test_what_is_no_such_document_is_one_warning(tmp_path, text):
    (tmp_path / "evidence.json").write_text(text)
    found = attach_evidence(diff(tmp_path))
    assert found.evidence is None
    assert len(found.warnings) == 1
