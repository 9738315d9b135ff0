"""Processes that used the GPU and whose kernels nsys does not have: a trace without them must say so."""

from tracediff.capture.record.program import Recorded
from tracediff.text import count


def lost_processes(recorded: Recorded, with_kernels: set[int]) -> list[str]:
    """Return a line for people where there are such processes, else none.

    Args:
        recorded: In which processes torch initialised CUDA, and which of them were forked.
        with_kernels: The processes whose kernels nsys has.
    """
    lost = [process for process in recorded.cuda if process not in with_kernels]
    forked = sum(recorded.cuda[process] for process in lost)
    if forked:
        which = count(forked, "forked process", "forked processes")
        return [
            f"nsys has no kernels of {which} in which torch initialised CUDA: it does not follow CUDA into a fork; "
            'let the program "spawn" its processes (vLLM: VLLM_WORKER_MULTIPROC_METHOD=spawn)'
        ]
    # One that only asked for the device, as a server's front may, runs no kernels.
    if lost and not with_kernels:
        which = count(len(lost), "process", "processes")
        return [
            f"torch initialised CUDA in {which}, but nsys has no kernels: none ran, or the end came before it had any"
        ]
    return []
