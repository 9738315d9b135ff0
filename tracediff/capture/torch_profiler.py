"""Recording with torch's own profiler, inside the recorded process.

Its trace holds the host's name, process names and paths: it stays in the capture's temporary folder, and only a clean
copy (`tracediff.capture.torch_scrub`) leaves that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracediff.model.ranges import RUN, open_annotation


@contextmanager
def torch_recording(device: str, trace: Path) -> Iterator[None]:
    """Record what runs in the block, inside the annotation `run`; no work of before or after is in it.

    Args:
        device: On a GPU kernels and their launches are recorded, on a CPU the operators.
        trace: Where the Chrome trace goes; it is not written where the block raises.
    """
    import torch  # noqa: PLC0415
    from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415

    on_gpu = device.startswith("cuda")
    # Annotations are recorded as activities of the CPU.
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    if on_gpu:
        torch.cuda.synchronize()
    with profile(activities=activities) as profiler, open_annotation(RUN):
        yield
        if on_gpu:
            torch.cuda.synchronize()
    profiler.export_chrome_trace(str(trace))
