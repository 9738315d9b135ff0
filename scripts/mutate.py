#!/usr/bin/env python3
"""Change the code in N random places and say which changes no test notices.

    python scripts/mutate.py tracediff/diff tracediff/kernels --sample 80 --seed 1
    python scripts/mutate.py tracediff/diff/fold.py --tests tests/diff tests/report --sample 0     # every mutant
    python scripts/mutate.py tracediff/trace --sample 200 --workers 8                              # eight at a time

The mutants are mutmut's (other operators, numbers, strings and arguments), and three more: negated conditions, dropped
statements, and mutants of decorated functions, which mutmut cannot run. Everything happens in copies of the tree, one
for each worker.

The tests run once under coverage.py, which records which tests reach each line. A mutant is tried with the tests that
reach its line (those of the package's own folder first, slow ones last), then with the whole files that hold them,
because fixtures and caches share results between tests. A line that runs at import only is tried with the tests that
use the module, then with all. A mutant survives when all of these pass, or when no test reaches its line; one that
takes five minutes counts as killed and is printed as such.
The coverage is kept in .mutate/ until a file of tracediff/ or tests/ changes.

Exit code: 0, or 1 when more than --fail-above percent survive. Needs the `dev` extra.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import libcst as cst
from coverage import CoverageData
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import MutationVisitor, deep_replace
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".mutate"
SECONDS = 300
PASSED, USAGE_ERROR, NO_TESTS_RAN = 0, 4, 5  # pytest's exit codes


@dataclass(frozen=True)
class Mutant:
    """One changed file: its path in the repository, its text before and after, and the first line that differs."""

    path: Path
    before: str
    after: str
    line: int

    def diff(self) -> str:
        """The change as a unified diff without context."""
        name = str(self.path)
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), name, name, n=0, lineterm="")
        return "\n".join(lines)


@dataclass(frozen=True)
class Change:
    """One change of one file, not built yet: the file's tree, and the node that another takes the place of."""

    path: Path
    source: str
    module: cst.Module
    before: cst.CSTNode
    after: cst.CSTNode

    def mutant(self) -> Mutant | None:
        """The changed file; None where it is the same or does not compile."""
        tree = deep_replace(self.module, self.before, self.after)
        text = tree.code if isinstance(tree, cst.Module) else self.source
        if text == self.source or not _compiles(text):
            return None
        return Mutant(self.path, self.source, text, _first_difference(self.source, text))


def main() -> int:
    """Sample the mutants, try each, and print the survivors."""
    options = _arguments()
    paths = sorted(set(_python_files(options.paths)))
    tests = options.tests or sorted({str(mirror) for path in paths if (mirror := _mirror(path)).exists()})
    if not tests:
        sys.exit("no tests/ folder mirrors these paths: name the tests with --tests")
    with tempfile.TemporaryDirectory(prefix="tracediff-mutate-") as folder:
        copies = [_copy_of_the_tree(Path(folder, str(number))) for number in range(options.workers)]
        coverage = _coverage(copies[0], tests, options.markers, options.workers)
        sources = {path: (copies[0] / path).read_text(encoding="utf-8") for path in paths}
        changes = [change for path, source in sources.items() for change in changes_of(path, source)]
        chosen = _sample(changes, options.sample, options.seed)
        print(f"{len(chosen)} of {len(changes)} changes of {len(paths)} files, seed {options.seed}, {' '.join(tests)}")
        survived = 0
        for number, result in enumerate(_try_all(chosen, copies, coverage, options.markers), 1):
            survived += result.survived
            place = f"{result.mutant.path}:{result.mutant.line}"
            print(f"{number}/{len(chosen)} {result.outcome:8} {place} ({result.seconds:.0f} s)", flush=True)
            if result.survived:
                print(result.mutant.diff(), flush=True)
    share = 100 * survived / len(chosen) if chosen else 0.0
    print(f"\n{survived} of {len(chosen)} mutants survived ({share:.0f} %)")
    return int(share > options.fail_above)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="files or packages to mutate, below tracediff/")
    parser.add_argument(
        "--tests", nargs="+", help="test files or folders (default: the folders that mirror the packages)"
    )
    parser.add_argument("--sample", type=int, default=40, help="how many mutants to try; 0: all of them (default: 40)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="how many mutants to try at a time (default: 1)")
    parser.add_argument("-m", dest="markers", default="", help="pytest's marker expression, for example: 'not slow'")
    parser.add_argument("--fail-above", type=float, default=100.0, metavar="PERCENT")
    return parser.parse_args()


def _python_files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        full = (Path.cwd() / path).resolve()
        files = full.rglob("*.py") if full.is_dir() else [full]
        yield from (file.relative_to(ROOT) for file in files)


def _mirror(path: Path) -> Path:
    """The folder of tests/ that mirrors the package of a file, or the test file of a top-level module."""
    package = path.parts[1:-1]
    return Path("tests", package[0]) if package else Path("tests", f"test_{path.name}")


def _sample(changes: list[Change], count: int, seed: int) -> list[Mutant]:
    """Draw mutants; all where `count` is 0. Only what is drawn is built: that takes longer than finding it."""
    if count > 0:
        random.Random(seed).shuffle(changes)
    drawn: dict[str, Mutant] = {}
    for change in changes:
        mutant = change.mutant()
        if mutant is not None:
            drawn.setdefault(mutant.after, mutant)
        if count > 0 and len(drawn) == count:
            break
    return list(drawn.values())


# -- Mutants ----------------------------------------------------------------------------------------------------------


def changes_of(path: Path, source: str) -> list[Change]:
    """Every change that the operators make to one file; some build no mutant, or the same."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor([*mutation_operators, *OPERATORS], IgnoredCode(set(), set(), set()))
    wrapper.visit(visitor)
    return [
        Change(path, source, wrapper.module, mutation.original_node, mutation.mutated_node)
        for mutation in visitor.mutations
    ]


def mutants_of(path: Path, source: str) -> list[Mutant]:
    """Every mutant of one file that still compiles, without duplicates."""
    return _sample(changes_of(path, source), 0, 0)


class _Visitor(MutationVisitor):
    """mutmut's visitor, which also enters decorated functions: mutmut keeps out because it wraps what it mutates."""

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.decorators:
            return False
        return super()._skip_node_and_children(node)


def _negate(node: cst.If | cst.While | cst.CompIf | cst.IfExp) -> Iterator[cst.CSTNode]:
    parenthesised = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    negated = cst.UnaryOperation(cst.Not(), parenthesised)
    yield node.with_changes(test=negated, **_space_before_test(node))


def _space_before_test(node: cst.CSTNode) -> dict[str, cst.SimpleWhitespace]:
    """`if(x)` is valid without a space, `ifnot` is not."""
    names = ("whitespace_before_test", "whitespace_after_if")
    return {name: cst.SimpleWhitespace(" ") for name in names if hasattr(node, name)}


def _drop_statement(node: cst.Expr) -> Iterator[cst.CSTNode]:
    if not isinstance(node.value, cst.SimpleString | cst.ConcatenatedString):
        yield cst.Pass()


OPERATORS = [(kind, _negate) for kind in (cst.If, cst.While, cst.CompIf, cst.IfExp)] + [(cst.Expr, _drop_statement)]


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _first_difference(before: str, after: str) -> int:
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next((number for number, (old, new) in enumerate(pairs, 1) if old != new), 1)


# -- Which tests reach a line -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coverage:
    """The tests that reach each line of each file: node ids, `""` for a line that ran at import."""

    tests: list[str]
    by_line: dict[Path, dict[int, frozenset[str]]]

    def of(self, mutant: Mutant) -> tuple[list[str], list[str]]:
        """The tests that reach the mutant, and the files to try after them."""
        by_line = self.by_line.get(mutant.path, {})
        reached = frozenset().union(*(by_line.get(line, ()) for line in _statement(mutant.before, mutant.line)))
        # A lambda in a table runs in tests, the rest of the table's lines at import.
        at_import = {""} in (reached, by_line.get(mutant.line, frozenset()))
        if at_import:  # whatever uses the module may notice, and any test that only reads its tables
            reached = frozenset().union(*by_line.values())
        ids = sorted(reached - {""})
        return ids, self.tests if at_import else sorted({test.split("::")[0] for test in ids})


def _statement(source: str, line: int) -> range:
    """The lines of the innermost statement that holds a line; of a compound statement only its header."""
    best = range(line, line + 1)
    size = None
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            if line <= max(end, node.lineno) and (size is None or end - node.lineno < size):
                best, size = range(node.lineno, max(end, node.lineno) + 1), end - node.lineno
    return best


def _coverage(copy: Path, tests: list[str], markers: str, workers: int) -> Coverage:
    """Run the tests once, all of which must pass; the data of the same code and tests are used again."""
    stored = CACHE / f"coverage-{_digest([markers, *tests])}"
    if not stored.exists():
        print(f"running {' '.join(tests)} under coverage", flush=True)
        stored.parent.mkdir(exist_ok=True)
        measured = copy / ".coverage"
        arguments = ["--cov=tracediff", "--cov-context=test", "--cov-report=", "--maxfail=5", "-m", markers, *tests]
        if workers > 1:
            arguments.append(f"--numprocesses={workers}")
        if _pytest(copy, arguments, seconds=3600, show=True) != 0:
            sys.exit("the tests fail without a mutant")
        shutil.move(measured, stored)
    data = CoverageData(str(stored))
    data.read()
    by_line = {}
    for file in data.measured_files():
        contexts = data.contexts_by_lineno(file)
        path = Path(file[file.rindex("/tracediff/") + 1 :])
        by_line[path] = {line: frozenset(name.rsplit("|", 1)[0] for name in names) for line, names in contexts.items()}
    return Coverage(tests, by_line)


def _digest(selection: list[str]) -> str:
    content = hashlib.sha256(repr(selection).encode())
    for folder in ("tracediff", "tests"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            content.update(file.read_bytes())
    return content.hexdigest()[:16]


# -- Running ----------------------------------------------------------------------------------------------------------


def _copy_of_the_tree(folder: Path) -> Path:
    """What git tracks or would, copied, so that the working tree stays as it is."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@dataclass(frozen=True)
class Result:
    """What became of a mutant: `killed` by a test, `timeout`, `SURVIVED`, or `NO TESTS` that reach its line."""

    mutant: Mutant
    outcome: str
    seconds: float

    @property
    def survived(self) -> bool:
        """Whether no test notices the change."""
        return self.outcome in {"SURVIVED", "NO TESTS"}


def _try_all(mutants: list[Mutant], copies: list[Path], coverage: Coverage, markers: str) -> Iterator[Result]:
    """Try the mutants in as many threads as there are copies of the tree; results come as they are found."""
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def attempt(mutant: Mutant) -> Result:
        copy = free.get()
        began = time.monotonic()
        try:
            return Result(mutant, outcome(mutant, copy, coverage, markers), time.monotonic() - began)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        yield from (done.result() for done in as_completed([pool.submit(attempt, mutant) for mutant in mutants]))


def outcome(mutant: Mutant, copy: Path, coverage: Coverage, markers: str) -> str:
    """Try one mutant in one copy of the tree, which is as before afterwards."""
    reaching, files = coverage.of(mutant)
    if not reaching and not files:
        return "NO TESTS"
    also = f"({markers}) and " if markers else ""
    mirror = str(_mirror(mutant.path))
    near = [test for test in reaching if test.startswith(mirror)]
    far = [test for test in reaching if not test.startswith(mirror)]
    with _changed(mutant, copy):
        for expression, tests in ((f"{also}not slow", near), (f"{also}not slow", far), (f"{also}slow", reaching)):
            code = _pytest(copy, ["-x", "-m", expression, *tests]) if tests else PASSED
            if code not in {PASSED, NO_TESTS_RAN, USAGE_ERROR}:  # a mutant can rename parameters: then no id is found
                return "timeout" if code is None else "killed"
        code = _pytest(copy, ["-x", "-m", markers, *files])
    return {PASSED: "SURVIVED", None: "timeout"}.get(code, "killed")


@contextmanager
def _changed(mutant: Mutant, copy: Path) -> Iterator[None]:
    target = copy / mutant.path
    target.write_text(mutant.after, encoding="utf-8")
    try:
        yield
    finally:
        target.write_text(mutant.before, encoding="utf-8")


def _pytest(copy: Path, arguments: list[str], *, seconds: float | None = None, show: bool = False) -> int | None:
    """Run pytest in the copy and return its exit code, or None where it took longer than `seconds` (SECONDS)."""
    listed = copy / ".pytest-arguments"
    listed.write_text("\n".join(arguments), encoding="utf-8")
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--hypothesis-seed=0",
        f"@{listed}",
    ]
    path = os.pathsep.join(filter(None, (str(copy), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    output = None if show else subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=copy, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        return process.wait(timeout=seconds or SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
