"""Evidence is used only beside the traces that it was measured of."""

import json
import shutil

import pytest

from tests.profiles import BFLOAT16, FLOAT16, LONG, LONG_8B, LONG_FLASH
from tracediff.diff import diff_tables, evidence_fits
from tracediff.diff.answer import answer
from tracediff.diff.evidence import attach_evidence
from tracediff.files import sha256_of
from tracediff.findings.facts import gather
from tracediff.measured import read_evidence
from tracediff.trace import Naming, read_trace


@pytest.fixture
def folder(tmp_path):
    """Put files of captures into one folder, by name; a dictionary is what evidence.json says in place of its own."""

    def put(source, changes=None, **others):
        for name in ("manifest.json", "b1.sqlite", "b2.sqlite"):
            shutil.copy(source / name, tmp_path / name)
        evidence = json.loads((others.pop("evidence", source) / "evidence.json").read_text())
        for name, path in others.items():
            shutil.copy(path, tmp_path / f"{name}.sqlite")
        (tmp_path / "evidence.json").write_text(json.dumps({**evidence, **(changes or {})}))
        return tmp_path

    return put


def warning(folder):
    """What is said of the evidence; empty where it is used."""
    diff = attach_evidence(diff_tables(read_trace(folder / "b1.sqlite"), read_trace(folder / "b2.sqlite")))
    told = [each for each in diff.warnings if each.startswith("evidence.json")]
    assert (diff.evidence is None) == bool(told)
    assert answer(diff).measured == (not told)
    return "".join(told)


@pytest.mark.parametrize("source", [FLOAT16, BFLOAT16, LONG, LONG_FLASH, LONG_8B], ids=lambda each: each.name)
def test_evidence_of_these_traces_is_used(folder, source):
    assert warning(folder(source)) == ""


def test_evidence_of_another_prompt_is_not_used(folder):
    assert warning(folder(FLOAT16, {"gpu": None}, evidence=LONG_8B)) == (
        "evidence.json is of a prompt of 700 tokens, the traces of one of 6; it is not used."
    )


def test_evidence_of_another_attention_is_not_used(folder):
    assert warning(folder(LONG, evidence=LONG_FLASH)) == (
        "evidence.json is of attention flash, the traces of sdpa; it is not used."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpu": "NVIDIA H100"}, "is of GPU NVIDIA H100, the traces of NVIDIA H200"),
        ({"weights": "real"}, "is of weights real, the traces of random"),
        (
            {"phases": ["prefill", "decode[0]", "decode[1]", "decode[2]"]},
            "is of a run with decode[2], which a trace does not have",
        ),
        ({"phases": ["prefill", "decode[0]"]}, "is of a run without decode[1], which a trace has"),
        ({"traces": {"1": "0" * 64}}, "is of a different recording than b1.sqlite"),
        ({"traces": {"2": "0" * 64}}, "is of a different recording than b2.sqlite"),
    ],
)
def test_what_evidence_says_of_its_run_is_compared_with_the_traces(folder, changes, words):
    assert warning(folder(FLOAT16, changes)) == f"evidence.json {words}; it is not used."


@pytest.mark.parametrize(
    ("naming", "words"),
    [
        (Naming(range="prefill"), "is of a run with decode[0], which a trace does not have as read with --range"),
        (
            Naming(range="prefill|decode.*", phase="^run$"),
            "is of a run with prefill, which a trace does not have as read with --range and --phase-range",
        ),
    ],
)
def test_what_the_user_chose_not_to_read_is_not_said_to_be_missing_in_the_file(naming, words):
    changed = attach_evidence(diff_tables(*(read_trace(FLOAT16 / f"b{batch}.sqlite", naming) for batch in (1, 2))))
    assert f"evidence.json {words}; it is not used." in changed.warnings
    assert changed.evidence is None


def test_each_trace_is_hashed_once_however_many_it_is_compared_with(folder, monkeypatch):
    hashed = []
    monkeypatch.setattr(evidence_fits, "sha256_of", lambda path: hashed.append(path.name) or sha256_of(path))
    put = folder(FLOAT16)
    shutil.copy(FLOAT16 / "b8.sqlite", put)
    gather(put)
    assert sorted(hashed) == ["b1.sqlite", "b2.sqlite", "b8.sqlite"]
    shutil.copy(FLOAT16 / "b8.sqlite", put / "b1.sqlite")
    assert "is of a different recording than b1.sqlite" in warning(put)


def test_stored_evidence_names_the_hashes_of_its_traces():
    for source in (FLOAT16, BFLOAT16, LONG, LONG_FLASH, LONG_8B):
        evidence = read_evidence(source / "evidence.json")
        assert evidence.traces == {batch: sha256_of(source / f"b{batch}.sqlite") for batch in evidence.batches}
        assert evidence.gpu == read_trace(source / "b1.sqlite").info.gpu


@pytest.mark.parametrize("name", ["b1", "b2"])
def test_a_trace_of_another_batch_size_is_known_by_its_hash(folder, name):
    assert warning(folder(FLOAT16, **{name: FLOAT16 / "b8.sqlite"})) == (
        f"evidence.json is of a different recording than {name}.sqlite; it is not used."
    )


def test_a_manifest_of_another_gpu_than_the_traces_is_not_of_their_capture(folder):
    put = folder(FLOAT16, {"traces": {}, "gpu": None})
    manifest = json.loads((put / "manifest.json").read_text())
    (put / "manifest.json").write_text(json.dumps({**manifest, "gpu": "NVIDIA H100"}))
    assert "is of GPU NVIDIA H100, the traces of NVIDIA H200" in warning(put)


@pytest.mark.parametrize("name", ["b1", "b2"])
def test_a_trace_of_another_batch_size_is_known_by_its_products(folder, name):
    """Without a hash, as in evidence of older versions: batch 8 under another name."""
    assert warning(folder(FLOAT16, {"traces": {}}, **{name: FLOAT16 / "b8.sqlite"})) == (
        f"evidence.json is not of {name}.sqlite: its products are not those of batch {name[1]} with 6 tokens; it is "
        "not used."
    )


def test_evidence_of_modules_that_no_trace_names_is_not_used(folder):
    evidence = json.loads((FLOAT16 / "evidence.json").read_text())
    for pair in evidence["pairs"]:
        pair["modules"] = {"prefill": {"other.module": [True, True]}}
    assert "is of modules that the traces do not name" in warning(folder(FLOAT16, {"pairs": evidence["pairs"]}))
