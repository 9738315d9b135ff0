"""What is started under the profiler, and with which environment."""

import os
from pathlib import Path

import tracediff
from tracediff.capture.command import record_command, small_environment


def test_only_listed_variables_reach_the_recorded_process(tmp_path):
    environment = {"PATH": "/bin", "HF_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x", "CUBLAS_WORKSPACE_CONFIG": ":0:0"}
    small = small_environment(environment, tmp_path)
    assert not {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY"} & set(small)
    assert (small["PATH"], small["CUBLAS_WORKSPACE_CONFIG"], small["TMPDIR"]) == ("/bin", ":0:0", str(tmp_path))


def test_the_worker_finds_the_same_packages_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entries = small_environment({"PYTHONPATH": f"here{os.pathsep}/there"}, tmp_path)["PYTHONPATH"].split(os.pathsep)
    assert entries[:2] == [str(tmp_path / "here"), "/there"]
    assert Path(tracediff.__file__).parent.parent.resolve() == Path(entries[2])


def test_on_a_gpu_the_cuda_profiler_delimits_and_on_a_cpu_the_range_run():
    gpu = record_command(Path("nsys"), Path("out"), 4, "cuda", "mine", ["python"])
    cpu = record_command(Path("nsys"), Path("out"), 4, "cpu", "mine", ["python"])
    assert {"--trace=cuda,nvtx", "--capture-range=cudaProfilerApi", "--capture-range-end=repeat:4"} <= set(gpu)
    assert {"--trace=nvtx", "--capture-range=nvtx", "--nvtx-capture=run@tracediff"} <= set(cpu)
    assert gpu[-1] == cpu[-1] == "python"
