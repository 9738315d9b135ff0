"""The first inputs of every kind that scripts/fuzz_readers.py makes: a result that renders, or one line of error."""

import importlib.util
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from fuzz_commands import BugError, run_command
from fuzz_kinds import KINDS, Kind
from fuzz_outputs import OutputError, plain_text, safe_csv, safe_html, safe_markdown, strict_json
from fuzz_readers import outcome, table

from tracediff.errors import TracediffError


@pytest.mark.parametrize("name", KINDS)
def test_inputs_are_read_and_rendered_or_refused(tmp_path, name):
    kind = KINDS[name]
    if kind.needs and importlib.util.find_spec(kind.needs) is None:
        pytest.skip(f"needs {kind.needs}")
    chance = random.Random(name)
    found = [outcome(kind, kind.make(tmp_path, chance), chance) for _ in range(40)]
    assert [why for _, why in found if why] == []
    assert {word for word, _ in found} <= {"clean", "refused"}


@pytest.mark.parametrize("name", ["json", "evidence", "map", "manifest", "lattice"])
def test_a_seed_makes_the_same_inputs_again(tmp_path, name):
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        chance = random.Random(7)
        made.append([KINDS[name].make(folder, chance).read_bytes() for _ in range(5)])
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (plain_text, "\x1b[31mred"),
        (plain_text, "\u202eevil"),
        (strict_json, '{"a": NaN}'),
        (strict_json, '{"a": "\x9b"}'),
        (strict_json, "{"),
        (safe_html, "<td><img src=x onerror=alert(1)></td>"),
        (safe_markdown, "see http://fuzz.invalid/x"),
        (safe_markdown, "a\n# heading"),
        (safe_csv, "a,b\n1,=1+1\n"),
        (safe_csv, "a,b\n1\n"),
    ],
)
def test_outputs_that_are_not_sound_are_seen(check, text):
    with pytest.raises(OutputError):
        check(text)


def test_sound_outputs_pass():
    strict_json('{"a": [1e5, null, "\\u009b"]}')
    safe_csv("a,b\n-1.5,'=1+1\n")
    safe_html("<td>&lt;img src=x&gt;</td>")
    safe_markdown("http:\u200b//fuzz.invalid")


def test_a_command_that_fails_is_a_refusal_and_one_that_breaks_is_a_bug(tmp_path, monkeypatch):
    with pytest.raises(TracediffError, match="no such file"):
        run_command("show", tmp_path / "none.sqlite")
    monkeypatch.setattr("tracediff.cli.name.name_in_row", lambda line: 1 / 0)
    with pytest.raises(BugError):
        run_command("name", "-", text="gemm")


def test_what_hangs_is_what_computes_too_long_not_what_waits(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzz_readers.HANG_SECONDS", 0.2)
    chance = random.Random(0)

    def compute(_path, _chance):
        while True:
            pass

    assert outcome(Kind(KINDS["names"].make, compute), tmp_path, chance)[0] == "hangs"
    assert outcome(Kind(KINDS["names"].make, lambda _path, _chance: time.sleep(0.4)), tmp_path, chance) == (
        "clean",
        None,
    )


def test_counts_of_two_states_of_the_code_are_not_added_up():
    one = {"code": "a", "workers": [{"kind": "json", "seed": 0, "inputs": 3, "clean": 1, "refused": 2}]}
    assert list(table([one, one]))[-1].startswith("| all | 6 | 2 | 4 | 0 |")
    with pytest.raises(SystemExit):
        list(table([one, {**one, "code": "b"}]))
