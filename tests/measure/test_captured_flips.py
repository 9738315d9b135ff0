"""What flipped in a captured run: kept with its largest logits, and shown by `explain` and the report."""

import io
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")

from rich.console import Console  # noqa: E402

from tests.measure.planted import depends_on_batch, with_logits  # noqa: E402
from tracediff.findings.captured_flips import flips_beside  # noqa: E402
from tracediff.findings.explain import explain  # noqa: E402
from tracediff.findings.facts import gather  # noqa: E402
from tracediff.findings.flips_file import read_flips  # noqa: E402
from tracediff.measure.captured_flips import captured_flips, write_captured_flips  # noqa: E402
from tracediff.measure.evidence import measure  # noqa: E402
from tracediff.measure.evidence_file import write  # noqa: E402
from tracediff.measure.step import EvidenceJob  # noqa: E402
from tracediff.measured import CAPTURED_FLIPS_FILE  # noqa: E402
from tracediff.model.load import load_model  # noqa: E402
from tracediff.model.spec import ModelSpec  # noqa: E402
from tracediff.report.explain.terminal import explanation_to_markdown, print_explanation  # noqa: E402

PROMPT = (70, 71, 72, 73)
DECODED = tuple(range(40, 56))


def job(out: Path) -> EvidenceJob:
    return EvidenceJob(
        spec=ModelSpec(name="tiny"),
        device="cpu",
        batches=(1, 2),
        prompt_tokens=PROMPT,
        decode_tokens=DECODED,
        recorded_hashes=None,
        out=out,
    )


def measured(load):
    model = load(ModelSpec(name="tiny"), "cpu")
    return measure(model, torch.tensor([PROMPT]), (1, 2), DECODED, name="tiny", dtype="float16", attention="sdpa")


@pytest.fixture(scope="module")
def flipping():
    return measured(with_logits(depends_on_batch))


def test_every_token_that_differs_in_the_evidence_is_kept_with_the_logits_that_chose_it(tmp_path, flipping):
    write_captured_flips(flipping, job(tmp_path))
    result = read_flips(tmp_path / CAPTURED_FLIPS_FILE)
    (pair,) = flipping.pairs
    differing = {place: pair.tokens[phase] for place, phase in enumerate(flipping.phases)}
    differing = {place: tokens for place, tokens in differing.items() if tokens[0] != tokens[1]}
    assert differing
    flips = [flip for _, flip in result.flips()]
    assert {flip.step: (flip.base.token, flip.other.token) for flip in flips} == differing
    for flip in flips:
        logits = flipping.logits[f"2/{flipping.phases[flip.step]}"]
        assert flip.other.top[0].logit == float(logits.max())


def test_a_run_without_flips_leaves_no_file(tmp_path):
    write_captured_flips(measured(load_model), job(tmp_path))
    assert not list(tmp_path.iterdir())


def test_explain_shows_both_sides_of_the_nearest_tie_with_the_texts_of_its_tokens(tmp_path, flipping):
    from tracediff.findings.flips_file import result_to_json

    write(flipping, tmp_path)
    result = captured_flips(flipping, job(tmp_path), lambda token: f"<{token}>")
    (tmp_path / CAPTURED_FLIPS_FILE).write_text(json.dumps(result_to_json(result)))
    explanation = explain(gather(tmp_path))
    nearest = min((flip for _, flip in result.flips()), key=lambda flip: flip.margin_ulp)
    console = Console(file=io.StringIO(), width=120)
    print_explanation(explanation, console)
    shown = console.file.getvalue()
    assert f"[{nearest.base.token} '<{nearest.base.token}>']" in shown
    assert f"[{nearest.other.token} '<{nearest.other.token}>']" in shown
    assert shown.count("ULP below") == 2
    assert f"{nearest.other.token}" in explanation_to_markdown(explanation)
    assert explanation.to_dict()["flips"][0]["other"]["token"] == nearest.other.token
    # The flips of the evidence and of the file are the same ones, counted once.
    margin = next(each for each in explanation.questions if "near tie" in each.text)
    flips = len(list(result.flips()))
    assert margin.because.startswith("the flip's margin" if flips == 1 else f"of {flips} flips")


def test_the_report_outlines_the_chosen_tokens_of_its_own_pair(tmp_path, flipping):
    from tests.profiles import PROFILES
    from tracediff.diff import diff_tables
    from tracediff.report.diff.html import render_html
    from tracediff.trace import read_trace

    pair = diff_tables(*(read_trace(PROFILES / "llama-3-8b-float16" / f"b{batch}.sqlite") for batch in (1, 2)))
    result = captured_flips(flipping, job(tmp_path), lambda token: f"<b>{token}</b>")
    page = render_html(pair, result)
    flips = list(result.flips())
    assert page.count('<article class="flip"') == len(flips)
    assert page.count('<tr class="chosen">') == 2 * len(flips)
    assert "&lt;b&gt;" in page and "<b>4" not in page
    assert 'id="flips"' not in render_html(pair)


def test_flips_are_those_of_one_folder(tmp_path, flipping):
    write_captured_flips(flipping, job(tmp_path))
    assert flips_beside(tmp_path / "b1.sqlite", tmp_path / "b2.sqlite") == read_flips(tmp_path / CAPTURED_FLIPS_FILE)
    assert flips_beside(tmp_path / "b1.sqlite", tmp_path / "other" / "b2.sqlite") is None
    assert flips_beside(tmp_path / "other" / "b1.sqlite") is None
