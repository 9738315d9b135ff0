"""The start-up hook in a Python of its own, with a module that stands for torch."""

import json
import os
import subprocess
import sys

import pytest

from tracediff.capture.record.program import SETTINGS, STARTUP_FOLDER

INSTALLED = """
def install(settings):
    print("installed", settings["mark"])
"""


@pytest.fixture
def run(tmp_path):
    """Run Python under the hook, with a `torch` and a tracediff that only say that they came."""
    package = tmp_path / "package" / "tracediff" / "capture" / "record"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "inside.py").write_text(INSTALLED)
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "torch.py").write_text("print('torch runs')\n")

    def run_python(*arguments, settings=True, **environment):
        told = {"package": str(tmp_path / "package"), "reports": str(tmp_path / "reports"), "mark": 5}
        path = os.pathsep.join([str(STARTUP_FOLDER), str(modules)])
        done = subprocess.run(
            [sys.executable, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": path,
                **({SETTINGS: json.dumps(told)} if settings else {}),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.splitlines(), done.stderr

    run_python.modules, run_python.reports, run_python.package = modules, tmp_path / "reports", package
    return run_python


def test_the_hook_comes_right_after_torch(run):
    printed, errors = run("-c", "print('before'); import torch; print('after'); import torch")
    assert printed == ["before", "torch runs", "installed 5", "after"]
    assert not errors


def test_nothing_happens_where_torch_is_never_imported(run):
    printed, errors = run("-c", "import sys; print('torch' in sys.modules, 'tracediff' in sys.modules)")
    assert (printed, errors) == (["False False"], "")


def test_nothing_happens_without_settings(run):
    assert run("-c", "import torch", settings=False) == (["torch runs"], "")


def test_asking_whether_torch_is_there_does_not_import_it(run):
    source = "import importlib.util as u; print(u.find_spec('torch').origin[-8:], u.find_spec('no_such'))\nimport torch"
    assert run("-c", source)[0] == ["torch.py None", "torch runs", "installed 5"]


def test_torchs_loader_is_the_usual_one_afterwards(run):
    source = "import sys, torch; print(vars(torch.__loader__).keys() & {'exec_module'}, torch.__spec__.origin[-8:])"
    assert run("-c", source)[0][2] == "set() torch.py"


def test_a_torch_that_cannot_be_imported_fails_as_it_would(run):
    (run.modules / "torch.py").write_text("raise ImportError('libcudart is missing')")
    printed, errors = run("-c", "import torch")
    assert printed == []
    assert "ImportError: libcudart is missing" in errors


def test_the_hidden_sitecustomize_runs_and_is_the_one_that_is_imported(run):
    (run.modules / "sitecustomize.py").write_text("print('theirs'); VALUE = 3")
    printed, errors = run("-c", "import sitecustomize; print(sitecustomize.VALUE); import torch")
    assert (printed, errors) == (["theirs", "3", "torch runs", "installed 5"], "")


def test_the_hooks_folder_is_off_the_path_and_reaches_children(run):
    source = f"import sys, os; h = {str(STARTUP_FOLDER)!r}; print(h in sys.path, h in os.environ['PYTHONPATH'])"
    assert run("-c", source)[0] == ["False True"]
    child = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', 'import torch']).returncode)"
    assert run("-c", child)[0] == ["torch runs", "installed 5"]


def test_what_goes_wrong_in_the_hook_is_reported_and_not_the_programs(run):
    (run.package / "inside.py").write_text("raise SyntaxError('too old a Python')")
    printed, errors = run("-c", "import torch; print('goes on')")
    assert (printed, errors) == (["torch runs", "goes on"], "")
    report = json.loads(run.reports.read_text())
    assert report["event"] == "failed"
    assert "too old a Python" in report["message"]


def test_the_variables_name_is_the_same_on_both_sides():
    assert f'SETTINGS = "{SETTINGS}"' in (STARTUP_FOLDER / "sitecustomize.py").read_text()
