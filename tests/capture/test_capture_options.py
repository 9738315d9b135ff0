"""What a capture may be asked for, and what stops it before anything takes time."""

import json
import sys

import pytest

from tracediff.capture import run
from tracediff.capture.manifest import listed_files
from tracediff.capture.options import CaptureOptions
from tracediff.errors import TracediffError
from tracediff.model.spec import ModelSpec

TINY = ModelSpec(name="tiny")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batches": ()}, "no batch size"),
        ({"batches": (1, 1)}, "a batch size is given twice"),
        ({"batches": (0, 1)}, "--batch 0 is too small: give 1 or more"),
        ({"tokens": 0}, "--tokens 0 is too small"),
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
    entries = [{"file": "b1.sqlite", "repeat_file": "b1.repeat2.sqlite"}, {"file": "../b2.sqlite"}, {"file": "/b3"}]
    (tmp_path / "manifest.json").write_text(json.dumps({"traces": entries}))
    assert listed_files(tmp_path) == ["b1.sqlite", "b1.repeat2.sqlite"]


@pytest.mark.parametrize("text", ["", "[]", '{"traces": 3}', '{"traces": [3]}', "{"])
def test_a_manifest_that_cannot_be_read_lists_nothing(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    assert listed_files(tmp_path) == []
