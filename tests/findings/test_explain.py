"""Bug or not: the judgement of a clean model and for a planted fault of each kind, measured on the CPU."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.changed import replace
from tests.measure.planted import depends_on_batch, noisy, request, with_logits
from tracediff.diff.judgement import Judgement
from tracediff.errors import TracediffError
from tracediff.findings.explain import explain
from tracediff.findings.explain_questions import Reply
from tracediff.findings.facts import Facts, OriginOrder, _traces, gather
from tracediff.findings.flips_file import read_flips
from tracediff.measure.sampler import check_sampler
from tracediff.measured import (
    CAPTURED_FLIPS_FILE,
    Bits,
    Control,
    Evidence,
    LogitsMove,
    ModuleBits,
    PairEvidence,
    Repair,
)
from tracediff.report.explain.terminal import explanation_to_markdown
from tracediff.report.flips.words import warnings as flip_warnings

PROFILES = Path(__file__).parents[2] / "profiles"


def plant_faults():
    """Return scripts/plant_faults.py as a module: it defines the faults."""
    path = Path(__file__).parents[2] / "scripts" / "plant_faults.py"
    spec = importlib.util.spec_from_file_location("plant_faults", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["plant_faults"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def measured(directory, fault, dtype="float16"):
    """Write the evidence of the tiny model with a fault in one projection, and gather it."""
    from tracediff.measure.evidence import measure
    from tracediff.measure.evidence_file import write
    from tracediff.model.load import load_model, prompt_tokens
    from tracediff.model.spec import ModelSpec

    faults = plant_faults()
    spec = ModelSpec(name="tiny", dtype=dtype)
    model = load_model(spec, "cpu")
    if fault is not None:
        getattr(faults, fault)(model.get_submodule(faults.DOWN))
    prompt = prompt_tokens(spec, model, count=6)
    write(measure(model, prompt, (1, 2), (3,), name="tiny", dtype=dtype), directory)
    return gather(directory)


@pytest.fixture
def evidence_needs():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("safetensors")


@pytest.mark.torch
@pytest.mark.usefixtures("evidence_needs")
@pytest.mark.parametrize(
    ("fault", "judgement", "words"),
    [
        ("reorders", Judgement.EXPECTED, "batch 2: down_proj"),
        ("leaks", Judgement.LEAK, "model.layers.0.mlp"),
        ("vibrates", Judgement.NOT_REPEATABLE, "the same run, repeated, gives different bits"),
        (None, Judgement.NO_DIFFERENCE, "bit-identical"),
    ],
)
def test_each_planted_fault_gets_its_judgement(tmp_path, fault, judgement, words):
    explanation = explain(measured(tmp_path, fault))
    assert explanation.judgement is judgement, explanation.to_dict()
    assert words in json.dumps(explanation.to_dict())


@pytest.mark.torch
@pytest.mark.usefixtures("evidence_needs")
def test_a_faulty_sampler_is_the_judgement_when_the_model_is_clean(tmp_path):
    def divides_by_zero(logits, temperature):
        with np.errstate(all="ignore"):
            return (logits / np.float32(temperature)).argmax(axis=-1)

    facts = measured(tmp_path, "reorders")
    faulty = explain(facts, check_sampler(divides_by_zero, "mine:sample", "numpy"))
    assert faulty.judgement is Judgement.SAMPLER
    assert "mine:sample" in faulty.headline
    exact = explain(facts, check_sampler(lambda logits, _: logits.argmax(axis=-1), "mine:greedy", "numpy"))
    assert exact.judgement is Judgement.EXPECTED
    assert not any("sampler" in sentence for sentence in exact.cannot_know)
    assert any("sampler" in sentence for sentence in explain(facts).cannot_know)


@pytest.mark.torch
@pytest.mark.usefixtures("evidence_needs")
def test_flips_alone_are_inconclusive_and_say_what_was_not_measured(tmp_path):
    from tracediff.measure.flips import search_flips

    wanted = request(dtypes=("bfloat16",), reference=False)
    search_flips(wanted, tmp_path / "flips.json", load=with_logits(depends_on_batch))
    explanation = explain(gather(tmp_path))
    assert explanation.judgement is Judgement.CANNOT_TELL
    # The search answers two controls by itself: only the third is missing.
    assert explanation.because.startswith("no module was replayed, and the control 'neighbours' was not run:")


@pytest.mark.torch
@pytest.mark.usefixtures("evidence_needs")
def test_a_batch_much_farther_from_float32_is_no_change_of_order(tmp_path):
    from tracediff.measure.flips import search_flips

    facts = measured(tmp_path, "reorders")
    search_flips(request(random=1), tmp_path / "flips.json", load=with_logits(lambda x: x + x / 8 if len(x) > 1 else x))
    explanation = explain(replace(gather(tmp_path), orders=facts.orders))
    assert explanation.judgement is Judgement.CANNOT_TELL
    assert "not equally far from float32" in explanation.because


@pytest.mark.torch
@pytest.mark.usefixtures("evidence_needs")
def test_a_search_that_does_not_repeat_is_nondeterminism(tmp_path):
    from tracediff.measure.flips import search_flips

    search_flips(request(random=1, reference=False), tmp_path / "flips.json", load=with_logits(noisy))
    assert explain(gather(tmp_path)).judgement is Judgement.NOT_REPEATABLE


CLEAN = Control(equal=True, compared="planted")
FAILED = Control(equal=False, compared="planted", share=0.5, max_ulp=3)
Q_PROJ = "model.layers.0.self_attn.q_proj"


def facts(**changes):
    """A capture whose q_proj is the origin, everything else clean."""
    differs = Bits(equal=False, share=0.1, max_ulp=1)
    pair = PairEvidence(
        batches=(1, 2),
        logits={"prefill": Bits(equal=False, share=0.5, max_ulp=3)},
        tokens={"prefill": (5, 5)},
        modules={"prefill": {Q_PROJ: ModuleBits(isolated=differs, propagated=differs)}},
        first_origin=("prefill", Q_PROJ),
        repair=None,
    )
    controls = dict.fromkeys(("run_to_run", "neighbours", "position", "profiler"), CLEAN)
    evidence = Evidence(
        model="m",
        dtype="float16",
        tokens=6,
        batches=(1, 2),
        phases=("prefill",),
        pairs=(replace(pair, **changes.pop("pair", {})),),
        notes=(),
        controls=controls | changes.pop("controls", {}),
    )
    order = OriginOrder(batch=2, phase="prefill", module=Q_PROJ, verdict="order-changed", reason="split-K 3 → 2")
    return Facts(evidence=evidence, **{"orders": (order,), **changes})


def repaired(*minimal, equal):
    return {"repair": Repair(minimal=minimal, logits_equal=equal, complement_logits_equal=None, tried=2)}


def test_a_clean_capture_with_another_order_at_its_origin_is_expected():
    explanation = explain(facts())
    assert explanation.judgement is Judgement.EXPECTED
    assert "the difference begins in model.layers.0.self_attn.q_proj (prefill)" in explanation.headline
    assert any("split-K 3 → 2" in each.because for each in explanation.questions)


@pytest.mark.parametrize(
    ("changes", "judgement", "words"),
    [
        ({"controls": {"run_to_run": FAILED}}, Judgement.NOT_REPEATABLE, "different bits"),
        ({"controls": {"neighbours": FAILED}}, Judgement.LEAK, "different bits"),
        ({"controls": {"position": FAILED}}, Judgement.CANNOT_TELL, "different bits"),
        (
            {"controls": {"neighbours": Control(equal=None, compared="")}},
            Judgement.CANNOT_TELL,
            "'neighbours' could not be run",
        ),
        ({"pair": {"first_origin": None, "modules": {}}}, Judgement.CANNOT_TELL, "no replayed module"),
        ({"orders": ()}, Judgement.EXPECTED, "no traces say what changed at the origin"),
        ({"pair": {"logits": {"prefill": Bits(equal=True)}}}, Judgement.NO_DIFFERENCE, "bit-identical"),
        ({"pair": {"logits": {"prefill": None}}}, Judgement.CANNOT_TELL, "no logits were compared"),
        (
            {"orders": (), "pair": repaired("q_proj", equal=True)},
            Judgement.EXPECTED,
            "batch 2: q_proj",
        ),
        (
            {"orders": (), "pair": repaired(equal=False)},
            Judgement.CANNOT_TELL,
            "does not make the logits bit-identical",
        ),
    ],
)
def test_each_answer_leads_where_it_must(changes, judgement, words):
    explanation = explain(facts(**changes))
    assert explanation.judgement is judgement
    assert words in json.dumps(explanation.to_dict())


def test_the_gravest_suspicion_is_named_first():
    broken = dict.fromkeys(("run_to_run", "neighbours", "position"), FAILED)
    # Noise was not measured here, and a run that does not repeat itself looks like a leak.
    assert explain(facts(controls=broken)).judgement is Judgement.NOT_REPEATABLE


def test_bits_that_change_where_the_trace_promised_the_same_order_are_not_explained():
    order = replace(facts().orders[0], verdict="same-order", reason="tile only")
    explanation = explain(facts(orders=(order,)))
    assert explanation.judgement is Judgement.CANNOT_TELL
    assert "a prediction of equal bits was contradicted" in explanation.because
    assert any("though the trace says same-order" in each.because for each in explanation.questions)


@pytest.mark.parametrize(
    ("margin", "judgement", "reply"),
    [
        (0.0, Judgement.EXPECTED, Reply.YES),
        (0.1, Judgement.EXPECTED, Reply.YES),
        (0.11, Judgement.CANNOT_TELL, Reply.NO),
        (15.0, Judgement.CANNOT_TELL, Reply.NO),
        (None, Judgement.EXPECTED, Reply.CANNOT_TELL),
    ],
)
def test_a_flip_of_the_captured_run_must_be_a_near_tie_beside_the_phases_that_did_not_flip(margin, judgement, reply):
    """Its own two logits moved by what lay between them, as they must: that makes no near tie."""
    flip = LogitsMove(max_abs=margin, scale=20.0, margins=(margin, margin), top_changes=(margin, margin))
    quiet = LogitsMove(max_abs=0.05, scale=9.0, margins=(3.0, 3.0), top_changes=(0.0, 0.0))
    tokens = {"prefill": (5, 5), "decode[0]": (5, 6)}
    explanation = explain(facts(pair={"tokens": tokens, "moves": {"prefill": quiet, "decode[0]": flip}}))
    assert explanation.judgement is judgement
    assert explanation.questions[-1].reply is reply


def test_a_run_whose_only_phase_flips_tells_not_how_far_logits_move_elsewhere():
    flip = LogitsMove(max_abs=15.0, scale=20.0, margins=(15.0, 15.0), top_changes=(15.0, 15.0))
    explanation = explain(facts(pair={"tokens": {"prefill": (5, 6)}, "moves": {"prefill": flip}}))
    assert explanation.questions[-1].reply is Reply.CANNOT_TELL


def test_what_was_not_found_is_never_answered_with_yes():
    """No token flipped: there is nothing to ask. No origin changed its order for sure: that cannot be told."""
    unknown = replace(facts().orders[0], verdict="unknown", reason="block 128 → 64")
    explanation = explain(facts(orders=(unknown, unknown, unknown), pair=repaired("q_proj", equal=True)))
    replies = {each.text: each.reply for each in explanation.questions}
    assert replies["Is it the order of summation that changed there?"] is Reply.CANNOT_TELL
    assert replies["Is every flipped token a near tie?"] is Reply.NOTHING


def test_where_no_module_was_computed_on_equal_inputs_nothing_is_said_of_modules():
    """Searches for flips alone, and logits that differ without a replay: the summation cannot be told."""
    searched = explain(gather(PROFILES / "tokens" / "smollm2"))
    unreplayed = explain(facts(pair={"modules": {}, "first_origin": None}))
    for explanation in (searched, unreplayed):
        replies = {each.text: each for each in explanation.questions}
        assert replies["Is it the order of summation that changed there?"].reply is Reply.CANNOT_TELL
        assert "no module was computed" in replies["Is it the order of summation that changed there?"].because
        assert replies["Was the first module that differs on equal inputs found?"].reply is Reply.CANNOT_TELL


RUNS, PLACE = "Does the same run give the same bits again?", "Does a row keep its bits at another place in the batch?"


def searched(name="flips.json", **changes):
    """The stored search of SmolLM2, its first precision changed."""
    found = read_flips(PROFILES / "tokens" / "smollm2" / "flips.json")
    first, *others = found.searches
    return ((name, replace(found, searches=(replace(first, **changes), *others))),)


def replies(explanation):
    return {each.text: each.reply for each in explanation.questions}


@pytest.mark.parametrize("equal", [None, False])
def test_a_search_overrules_no_control_that_the_capture_could_not_tell_or_that_failed(equal):
    stored = replace(CLEAN, equal=equal, why="modules vary by themselves")
    found = replies(explain(facts(controls={"run_to_run": stored, "position": stored}, flips=searched())))
    expected = Reply.CANNOT_TELL if equal is None else Reply.NO
    assert (found[RUNS], found[PLACE]) == (expected, expected)


@pytest.mark.parametrize(("name", "reply"), [(CAPTURED_FLIPS_FILE, Reply.CANNOT_TELL), ("flips.json", Reply.YES)])
def test_a_search_answers_the_controls_that_the_capture_did_not_run(name, reply):
    """The flips of the captured run hold no second run and no copies; a search made both."""
    without = facts(flips=searched(name))
    without = replace(without, evidence=replace(without.evidence, controls={"neighbours": CLEAN}))
    found = replies(explain(without))
    assert (found[RUNS], found[PLACE]) == (reply, reply)


@pytest.mark.parametrize(
    ("changes", "batches"),
    [({"noisy": (16, 32)}, "16, 32"), ({"repeatable": False}, "1"), ({"repeatable": False, "noisy": (1, 8)}, "1, 8")],
)
def test_a_search_that_varies_at_any_batch_size_does_not_repeat_itself(changes, batches):
    explanation = explain(facts(flips=searched(**changes)))
    assert explanation.judgement is Judgement.NOT_REPEATABLE
    assert explanation.questions[0].because == (
        f"the same float16 run twice at batch {batches} gives different bits (flips.json)"
    )


@pytest.mark.torch
def test_stored_logits_are_read_without_torch(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    from tracediff.measured.logits import read_logits

    tensors = {
        f"1/{name}": (torch.randn(50) * 9).to(getattr(torch, name)) for name in ("float16", "bfloat16", "float32")
    }
    safetensors.save_file(tensors, tmp_path / "logits.safetensors")
    for name, (dtype, values) in read_logits(tmp_path / "logits.safetensors").items():
        assert name == f"1/{dtype}"
        assert values.tolist() == tensors[name].double().tolist()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no evidence"),
        ({"evidence.json": "{"}, "cannot be used"),
        ({"flips.json": "{"}, "cannot read"),
        ({"evidence.json": '{"schema": 1, "controls": {}, "pairs": [{}]}'}, "cannot be used"),
        (
            {"evidence.json": '{"schema": 1, "controls": {}, "pairs": [{"logits": {}, "first_origin": 3}]}'},
            "cannot be used",
        ),
        ({"evidence.json": '{"schema": 1}'}, "cannot be used"),
        ({"manifest.json": "{}"}, "holds no evidence"),
        ({"evidence.json": '{"schema": 7}'}, "it has schema 7"),
    ],
)
def test_a_directory_that_tells_nothing_is_one_line(tmp_path, files, words):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(TracediffError, match=words):
        gather(tmp_path)


def test_names_in_a_manifest_that_no_file_can_have_are_passed_over():
    names = ["x" * 5000, "a\0b", "", 3, "b2.sqlite"]
    manifest = {"traces": [{"file": name, "batch": batch} for batch, name in enumerate(names)]}
    assert _traces(manifest, Path("capture")) == {4: Path("capture/b2.sqlite")}


def test_a_file_for_a_directory_is_one_line(tmp_path):
    with pytest.raises(TracediffError, match="is not a directory"):
        gather(tmp_path / "none")


def test_the_explanation_is_json_and_markdown_with_every_question():
    explanation = explain(facts())
    data = json.loads(json.dumps(explanation.to_dict()))
    assert [each["answer"] for each in data["questions"]] == [
        *("yes", "yes", "yes", "cannot tell", "yes", "yes", "yes", "nothing to ask"),
    ]
    text = explanation_to_markdown(explanation)
    for each in explanation.questions:
        assert each.text in text


@pytest.mark.parametrize(
    ("dtype", "origin"),
    [("float16", "0.self_attn.q_proj"), ("bfloat16", "0.self_attn.k_proj"), ("float32", "0.self_attn.q_proj")],
)
def test_the_recorded_captures_are_expected(dtype, origin):
    explanation = explain(gather(PROFILES / f"llama-3-8b-{dtype}"))
    assert explanation.judgement is Judgement.EXPECTED
    assert f"model.layers.{origin} (prefill)" in explanation.because


def test_a_capture_with_its_flips_and_repeats_is_explained_by_all_of_them(tmp_path):
    for source in (*(PROFILES / "llama-3-8b-float16").iterdir(), *(PROFILES / "tokens").glob("*.json")):
        (tmp_path / source.name).symlink_to(source)
    explanation = explain(gather(tmp_path))
    assert explanation.judgement is Judgement.EXPECTED
    because = {each.text: each.because for each in explanation.questions}
    assert because["Is every flipped token a near tie?"].startswith("none of the 92 flips had a margin larger")
    assert {search.label for _, result in explanation.flips for search in result.searches} == {"float16"}
    assert "a different order at 274 of 274 origins" in because["Is it the order of summation that changed there?"]


# -- results of something else ----------------------------------------------------------------------------------------


def test_results_of_another_model_answer_nothing_and_are_named(tmp_path):
    capture = PROFILES / "llama-3.2-1b-float16-700-tokens"
    alone = explain(gather(capture))
    for source in (*capture.iterdir(), PROFILES / "tokens" / "smollm2" / "flips.json"):
        (tmp_path / source.name).symlink_to(source)
    (tmp_path / "determinism.json").symlink_to(PROFILES / "tokens" / "determinism.json")
    together = explain(gather(tmp_path))
    assert together.questions == alone.questions
    assert together.flips == ()
    assert [sentence for sentence in together.cannot_know if "left out" in sentence] == [
        "flips.json is left out: it is of model SmolLM2-135M-Instruct.Q4_1, not llama-3.2-1b",
        "determinism.json is left out: it is of model llama-3-8b, not llama-3.2-1b",
    ]


@pytest.mark.parametrize(
    ("settings", "machine", "words"),
    [
        ({"random_weights": False}, {}, "it is of weights real, not random"),
        ({"layers": 2}, {}, "it is of layers 2, not 32"),
        ({"seed": 1}, {}, "it is of seed 1, not 0"),
        ({"attention": "flash"}, {}, "it is of attention flash, not sdpa"),
        ({"remedy": "no-workspace"}, {}, "it is of setting no-workspace, not default"),
        ({}, {"gpu": "NVIDIA H100"}, "it is of GPU NVIDIA H100, not NVIDIA H200"),
        ({"precisions": [["bfloat16", False]] * 4}, {}, "precisions other than"),
    ],
)
def test_a_search_is_used_only_where_it_ran_what_was_captured(tmp_path, settings, machine, words):
    for name in ("evidence.json", "manifest.json"):
        (tmp_path / name).symlink_to(PROFILES / "llama-3-8b-float16" / name)
    search = json.loads((PROFILES / "tokens" / "flips_generate.json").read_text())
    search["settings"] |= settings
    search["machine"] |= machine
    for each, (dtype, tf32) in zip(search["searches"], search["settings"]["precisions"], strict=True):
        each |= {"dtype": dtype, "tf32": tf32}
    (tmp_path / "flips.json").write_text(json.dumps(search))
    found = gather(tmp_path)
    assert found.flips == ()
    assert any("flips.json is left out" in note and words in note for note in found.notes)


def test_without_a_capture_the_first_search_says_which_model_is_meant(tmp_path):
    (tmp_path / "a.json").symlink_to(PROFILES / "tokens" / "smollm2" / "flips.json")
    (tmp_path / "b.json").symlink_to(PROFILES / "tokens" / "flips_generate.json")
    found = gather(tmp_path)
    assert [name for name, _ in found.flips] == ["a.json"]
    assert any("b.json is left out: it is of model llama-3-8b" in note for note in found.notes)


def test_traces_that_the_evidence_was_not_measured_of_say_nothing_of_its_origins(tmp_path):
    capture = PROFILES / "llama-3-8b-float16"
    for name, source in (
        ("manifest.json",) * 2,
        ("evidence.json",) * 2,
        ("b1.sqlite",) * 2,
        ("b2.sqlite", "b8.sqlite"),
    ):
        (tmp_path / name).symlink_to(capture / source)
    found = gather(tmp_path)
    assert {order.batch for order in found.orders} <= {8}
    assert (
        "the traces at batch 1 and 2 are left out: evidence.json is of a different recording than b2.sqlite"
        in found.notes
    )


# -- near ties --------------------------------------------------------------------------------------------------------


def planted(gap):
    """The stored search with one flip of bfloat16 whose two logits lie `gap` apart and moved by as much."""
    found = read_flips(PROFILES / "tokens" / "smollm2" / "flips.json")
    searches = list(found.searches)
    place = next(index for index, search in enumerate(searches) if search.dtype == "bfloat16")
    prompts = list(searches[place].prompts)
    index = next(index for index, prompt in enumerate(prompts) if prompt.flips)
    flip = prompts[index].flips[0]
    top = [replace(each, logit=each.logit - gap) for each in flip.base.top]
    chosen = replace(flip.base, top=(flip.base.top[0], *top[1:]))
    far = replace(flip, base=chosen, margin=gap, margin_ulp=gap / 0.25, moved=(gap, gap))
    prompts[index] = replace(prompts[index], flips=(far, *prompts[index].flips[1:]))
    searches[place] = replace(searches[place], prompts=tuple(prompts))
    return (("flips.json", replace(found, searches=tuple(searches))),)


@pytest.mark.parametrize(("gap", "reply"), [(0.5, Reply.YES), (1.0, Reply.NO), (15.0, Reply.NO)])
def test_a_margin_that_logits_do_not_bridge_elsewhere_is_no_near_tie(gap, reply):
    """Its logits moved by as much, as those of every flip do. Where no token flips they move by 0.375 at most steps."""
    asked = explain(Facts(flips=planted(gap))).questions[-1]
    assert asked.reply is reply
    if reply is Reply.NO:
        assert asked.because.startswith("1 of 27 flips had a margin larger than logits move where no token flips: ")
        assert f"{gap:.3g} (" in asked.because
    ((_, found),) = planted(gap)
    warned = [sentence for sentence in flip_warnings(found) if "no near tie" in sentence]
    assert len(warned) == (reply is Reply.NO)


def test_every_stored_flip_is_a_near_tie():
    stored = [
        path for path in (PROFILES / "tokens").rglob("*.json") if json.loads(path.read_text()).get("kind") == "flips"
    ]
    assert len(stored) >= 4
    for path in stored:
        asked = explain(Facts(flips=((path.name, read_flips(path)),))).questions[-1]
        assert asked.reply is Reply.YES, asked


def test_where_no_other_step_moved_only_an_exact_tie_is_a_near_one():
    def stood(gap):
        ((name, found),) = planted(gap)
        search = next(each for each in found.searches if each.dtype == "bfloat16")
        prompts = tuple(
            replace(
                prompt,
                batches=tuple(
                    replace(batch, largest_change=(0.0,) * len(batch.largest_change)) for batch in prompt.batches
                ),
            )
            for prompt in search.prompts
        )
        settings = replace(found.settings, precisions=(("bfloat16", False),))
        return ((name, replace(found, settings=settings, searches=(replace(search, prompts=prompts),))),)

    assert explain(Facts(flips=stood(0.5))).questions[-1].reply is Reply.CANNOT_TELL
