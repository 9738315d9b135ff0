"""Which profiler records, and on what: nsys where it works, else torch's own, which every torch has.

torch's profiler records kernels, launches and ranges as nsys does, but not what cuBLASLt says it chose. Without a GPU
it records the operators.
"""

import dataclasses
from dataclasses import dataclass

from tracediff.capture.find_nsys import Nsys
from tracediff.capture.options import AUTO, NSYS, TORCH, CaptureOptions
from tracediff.capture.probe import choose_nsys
from tracediff.capture.worker_process import Progress
from tracediff.errors import TracediffError
from tracediff.model.load import has_gpu, require_device
from tracediff.model.presets import FOR_ANY_MACHINE

_NO_KERNELS = "there is no GPU, so no kernels were recorded: the CPU's operators take their place"

_WITHOUT_A_GPU = (
    "run `tracediff capture` on a machine with one; `tracediff diff` reads the traces anywhere, profiles/ in the "
    "repository holds recorded ones, and `--profiler torch --model tiny` tries a capture on the CPU"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenProfiler:
    """What records.

    Attributes:
        options: As asked for, with the profiler and the device settled.
        nsys: The profiler, where it is nsys.
        warning: Why it is not what one would expect, and what is lost, in one line.
    """

    options: CaptureOptions
    nsys: Nsys | None
    warning: str | None = None


def with_device(options: CaptureOptions) -> CaptureOptions:
    """Return the options with the CPU in place of a GPU that is missing, where that was asked for or costs nothing.

    Raises:
        TracediffError: There is no GPU, and the model is made for one.
    """
    asked = options.profiler == TORCH or (options.spec.name == FOR_ANY_MACHINE and not options.insists_on_nsys)
    if options.device.startswith("cuda") and asked and not has_gpu():
        return dataclasses.replace(options, device="cpu")
    require_device(options.device, _WITHOUT_A_GPU)
    return options


def choose_profiler(options: CaptureOptions, environment: dict[str, str], progress: Progress) -> ChosenProfiler:
    """Return the profiler to record with.

    Args:
        options: What was asked for, its device settled by `with_device`.
        environment: The caller's (`os.environ`).
        progress: Called with a line for people when nsys is tried.

    Raises:
        TracediffError: nsys was asked for, and it does not work.
    """
    on_gpu = options.device.startswith("cuda")
    if options.profiler == TORCH or not (on_gpu or options.insists_on_nsys):
        settled = dataclasses.replace(options, profiler=TORCH)
        return ChosenProfiler(options=settled, nsys=None, warning=None if on_gpu else _NO_KERNELS)
    progress("trying nsys")
    try:
        tried = choose_nsys(environment, options.nsys)
        if tried.problem is None:
            return ChosenProfiler(options=dataclasses.replace(options, profiler=NSYS), nsys=tried.nsys)
        failure = TracediffError(tried.problem, tried.hint)
    except TracediffError as error:
        failure = error
    if options.insists_on_nsys:
        raise failure
    assert options.profiler == AUTO
    return ChosenProfiler(
        options=dataclasses.replace(options, profiler=TORCH),
        nsys=None,
        warning=f"recorded by torch's profiler, without cuBLASLt's algorithms (split-K is inferred), since {failure}",
    )
