"""What the documentation says of the code is there: modules, functions, files, commands, links."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import typer.main

from tracediff.cli.application import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("profiles/**/*.md")])
DOTTED = re.compile(r"`(tracediff(?:\.\w+)+)`")
PATH = re.compile(r"`((?:tracediff|scripts|tests|docs|profiles)/[\w./-]*)`")
MADE = frozenset({"tests/actual/", "tests/gold/"})  # by tests, where they are not there yet
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\s*(?:\.venv/bin/)?tracediff ([a-z]+)", re.MULTILINE)


def pages(pattern):
    return [(page, found) for page in PAGES for found in sorted(set(pattern.findall(page.read_text(encoding="utf-8"))))]


def name_of(value):
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else value


@pytest.mark.parametrize(("page", "dotted"), pages(DOTTED), ids=name_of)
def test_a_name_of_the_code_exists(page, dotted):
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, attribute = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), f"{dotted} of {page.name} does not exist"


@pytest.mark.parametrize(("page", "path"), pages(PATH), ids=name_of)
def test_a_path_of_the_repository_exists(page, path):
    assert (ROOT / path).exists() or path in MADE, f"{path} of {page.name} does not exist"


@pytest.mark.parametrize(
    ("page", "command"),
    [(page, command) for page, block in pages(FENCE) for command in COMMAND.findall(block)],
    ids=name_of,
)
def test_a_command_exists(page, command):
    assert command in COMMANDS


LINE = re.compile(r"(?:^|[`\s])tracediff ([a-z]+)( [^`\n]*)?", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|-[a-z])(?![\w-])")


def options_of(command):
    parameters = typer.main.get_command(importlib.import_module(f"tracediff.cli.{command}").app).params
    return {"--help", *(name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts))}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_option_that_is_written_behind_a_command_exists(page):
    for command, words in LINE.findall(page.read_text(encoding="utf-8")):
        if command in COMMANDS:
            own = re.split(r" -- |  #|\||&&|;| python ", words)[0]
            unknown = set(OPTION.findall(own)) - options_of(command)
            assert not unknown, f"tracediff {command}{words}"


LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def files_of_the_site():
    tree = ast.parse((ROOT / "scripts" / "docs_site.py").read_text(encoding="utf-8"))
    patterns = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "PATTERNS"
    )
    return {path for pattern in patterns for path in ROOT.glob(pattern)}


@pytest.mark.parametrize(("page", "link"), pages(LINK), ids=name_of)
def test_a_link_leads_to_a_file_of_the_site(page, link):
    """The site is built strictly: a link to a folder, or to a file that it lacks, fails the build."""
    if "://" not in link:
        assert (page.parent / link).resolve() in files_of_the_site()


def test_every_command_is_documented():
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert [name for name in COMMANDS if f"tracediff {name}" not in text] == []


def test_every_package_is_on_the_page_of_the_architecture():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in sorted((ROOT / "tracediff").glob("*/__init__.py"))]
    assert [name for name in packages if f"`tracediff/{name}/`" not in text] == []


def test_every_page_of_docs_is_in_the_site():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in ROOT.glob("docs/*.md") if f"docs/{page.name}" not in navigation] == []


def test_every_test_that_the_documentation_names_exists():
    named = re.findall(
        r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / "reduction-order.md").read_text(encoding="utf-8")
    )
    assert len(named) > 25
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"
