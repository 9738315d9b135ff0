"""The command lines of nsys."""

from pathlib import Path

from tracediff.capture.command import record_command


def test_on_a_gpu_the_cuda_profiler_delimits_and_on_a_cpu_the_range_run():
    gpu = record_command(Path("nsys"), Path("out"), 4, "cuda", "mine", ["python"])
    cpu = record_command(Path("nsys"), Path("out"), 4, "cpu", "mine", ["python"])
    assert {"--trace=cuda,nvtx", "--capture-range=cudaProfilerApi", "--capture-range-end=repeat:4"} <= set(gpu)
    assert {"--trace=nvtx", "--capture-range=nvtx", "--nvtx-capture=run@tracediff"} <= set(cpu)
    assert gpu[-1] == cpu[-1] == "python"
