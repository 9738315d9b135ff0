"""What a capture may be asked for, and what stops it before anything takes time."""

import json
import sys

import pytest

from tests.profiles import FLOAT16
from tracediff.capture import run
from tracediff.capture.manifest import listed_files, read_manifest
from tracediff.capture.options import CaptureOptions
from tracediff.errors import TracediffError
from tracediff.model.spec import ModelSpec

TINY = ModelSpec(name="tiny")


def stored_manifest():
    return json.loads((FLOAT16 / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batches": ()}, "no batch size"),
        ({"batches": (1, 1)}, "a batch size is given twice"),
        ({"batches": (0, 1)}, "--batch 0 is too small: give 1 or more"),
        ({"batches": (1 << 70, 1)}, "--batch 1180591620717411303424 is too large: give 16,777,216 or less"),
        ({"tokens": 0}, "--tokens 0 is too small"),
        ({"tokens": 1 << 40}, "--tokens 1099511627776 is too large"),
        ({"decode": -1}, "--decode -1 is too small: give 0 or more"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields, words):
    with pytest.raises(TracediffError, match=words):
        CaptureOptions(**{"spec": TINY, "batches": (1,), **fields})


@pytest.mark.parametrize(
    ("spec", "fields", "folder"),
    [
        (ModelSpec(), {}, "tracediff-runs/llama-3-8b-float16-tokens6"),
        (ModelSpec(name="owner/model", layers=2), {"tokens": 9}, "tracediff-runs/owner--model-layers2-float16-tokens9"),
        (TINY, {"prompt": "Hello"}, "tracediff-runs/tiny-float16-prompt"),
    ],
)
def test_the_folder_says_what_was_recorded(spec, fields, folder):
    assert str(CaptureOptions(spec=spec, batches=(1,), **fields).folder) == folder


def test_the_command_does_it_again_and_names_no_path(tmp_path):
    model = tmp_path / "secret-user" / "my-model"
    model.mkdir(parents=True)
    options = CaptureOptions(
        spec=ModelSpec(name=str(model), layers=2),
        batches=(1, 8),
        prompt="It's me",
        out=tmp_path / "out",
        algorithm_log=False,
    )
    assert options.command == (
        "tracediff capture --batch 1 8 --model my-model --dtype float16 --prompt 'It'\"'\"'s me' --decode 2 --layers 2 "
        "--attention sdpa --seed 0 --no-algorithm-log"
    )


def test_a_folder_that_holds_files_is_never_written_to_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_require_capture_packages", lambda: None)
    monkeypatch.setattr(run, "with_device", lambda options: options)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TracediffError, match="holds files: name another folder with --out, or add --force"):
        run.capture(CaptureOptions(spec=TINY, batches=(1,), out=tmp_path), [].append)


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_require_capture_packages", lambda: None)
    monkeypatch.setattr(run, "with_device", lambda options: options)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(TracediffError, match="is a file"):
        run.capture(CaptureOptions(spec=TINY, batches=(1,), out=tmp_path / "out"), [].append)


def test_missing_packages_are_named_with_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "transformers" else object())
    with pytest.raises(TracediffError, match=r"transformers not installed: pip install '\.\[capture\]'"):
        run.capture(CaptureOptions(spec=TINY, batches=(1,)), [].append)


def test_only_files_of_the_folder_itself_are_taken_for_listed(tmp_path):
    files = [("b1.sqlite", "b1.repeat2.sqlite"), ("../b2.sqlite", None), ("/b3", None)]
    entries = [
        {"file": file, "repeat_file": repeat, "batch": 1, "kernels": 0, "repeat_identical": True}
        for file, repeat in files
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({**stored_manifest(), "traces": entries}))
    assert listed_files(tmp_path) == ["b1.sqlite", "b1.repeat2.sqlite"]


@pytest.mark.parametrize("text", ["", "[]", '{"traces": 3}', '{"traces": [3]}', "{"])
def test_a_manifest_that_cannot_be_read_lists_nothing(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    assert listed_files(tmp_path) == []


def test_the_manifest_of_a_profile_is_read_with_its_fields():
    manifest = read_manifest(FLOAT16)
    assert (manifest.model, manifest.dtype, manifest.profiler) == ("llama-3-8b", "float16", "nsys")
    assert [trace.batch for trace in manifest.traces] == [1, 2, 8]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"seed": "0"}, "$.seed"),
        ({"prompt_tokens": [1, "2"]}, "$.prompt_tokens[1]"),
        ({"traces": [{"file": "b1.sqlite"}]}, "$.traces[0]"),
        ({"traces": [{"file": 1, "batch": 1, "kernels": 1, "repeat_identical": True}]}, "$.traces[0].file"),
        ({"settings": {"A": 1}}, "$.settings"),
        ({"schema": 9}, "schema 9"),
    ],
)
def test_a_manifest_with_a_field_of_another_type_is_refused_with_its_place(tmp_path, change, where):
    (tmp_path / "manifest.json").write_text(json.dumps({**stored_manifest(), **change}))
    with pytest.raises(TracediffError) as caught:
        read_manifest(tmp_path)
    assert where in str(caught.value)


def test_a_prompt_is_part_of_the_command_unless_it_is_not_to_be_stored():
    asked = {"spec": TINY, "batches": (1,), "prompt": "my secret"}
    assert "--prompt 'my secret'" in CaptureOptions(**asked).command
    unstored = CaptureOptions(**asked, store_prompt=False).command
    assert "secret" not in unstored
    assert "--no-store-prompt" in unstored
