"""`tracediff name`: what it prints for people and for programs."""

import json

from typer.testing import CliRunner

from tracediff.cli import app

NVJET = "nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT"
LEGACY = "ampere_sgemm_128x64_nn"


def run(*arguments: str, given: str | None = None) -> tuple[int, str]:
    """Return the exit code and standard output of `tracediff name …`."""
    result = CliRunner().invoke(app, ["name", *arguments], input=given)
    return result.exit_code, result.stdout


def test_one_readable_line_per_name() -> None:
    code, output = run(NVJET, LEGACY)
    assert code == 0
    assert output.splitlines() == [
        "nvjet f16 GEMM, tile 128×8×64, 12 stages, cluster 4×1, split-K (factor not in the name)",
        "cublas_legacy f32 GEMM, tile 128×64",
    ]


def test_json_is_one_object_per_line_with_every_field() -> None:
    code, output = run("--format", "json", NVJET, LEGACY)
    first, second = (json.loads(line) for line in output.splitlines())
    assert code == 0
    assert first["tile"] == [128, 8, 64]
    assert first["split_k"] is None
    assert first["split_k_form"] == "stated"
    assert first["types"] == {
        **dict.fromkeys(first["types"]),
        "a": "f16",
        "b": "f16",
        "accumulate": "f32",
        "output": "f16",
    }
    assert set(first) == set(second)
    assert {"name", "family", "role", "arch", "stages", "cluster", "warps", "mma", "layout", "alignment"} <= set(first)
    assert {"sliced_k", "schedule", "epilogue", "unparsed", "details"} <= set(first)


def test_names_come_from_standard_input_one_per_line() -> None:
    code, output = run("--format", "json", "-", given=f"{NVJET}\r\n\n{LEGACY}\n")
    assert code == 0
    assert [json.loads(line)["name"] for line in output.splitlines()] == [NVJET, LEGACY]


def test_standard_input_without_a_name_is_an_error() -> None:
    result = CliRunner().invoke(app, ["name", "-"], input="| --- |\n\n")
    assert result.exit_code == 2
    assert "no kernel name on standard input" in result.stderr


def test_explain_prints_each_token_with_meaning_and_certainty() -> None:
    code, output = run("--explain", NVJET)
    lines = output.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines[1:]] == NVJET.split("_")
    assert all(line.endswith(("[verified]", "[inferred]", "[unknown]")) for line in lines[1:])


def test_explain_adds_tokens_to_json() -> None:
    _, output = run("--explain", "--format", "json", LEGACY)
    assert [token["text"] for token in json.loads(output)["tokens"]] == LEGACY.split("_")


def test_an_unknown_name_says_that_it_is_not_read() -> None:
    code, output = run("mystery_kernel_9000")
    assert code == 0
    assert "not read: mystery_kernel_9000" in output


def test_control_characters_never_reach_the_terminal() -> None:
    code, output = run("evil\x1b[31m\u202e\x00name", "--explain")
    assert code == 0
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "\\x1b" in output


def test_no_name_is_an_error_with_a_hint() -> None:
    result = CliRunner().invoke(app, ["name"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "standard input" in result.stderr
