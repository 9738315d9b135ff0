"""An nsys that the recorded program starts itself: two cannot record one program."""

from pathlib import PurePath

from tracediff.capture.record import launcher

# `nsys launch` and `nsys start` record together what `nsys profile` records alone; `stats`, `export`, … only read.
_RECORDING = ("profile", "launch", "start")


def starts_own_nsys(process: int) -> bool:
    """Return whether a process started an nsys that records."""
    return any(
        launcher.name_of(each) == "nsys" and _is_recording(launcher.arguments_of(each))
        for each in launcher.descendants(process)
    )


def _is_recording(arguments: list[str]) -> bool:
    """Return whether the word after nsys is a command that records; where nsys is a script, its shell goes before."""
    names = [PurePath(argument).name for argument in arguments]
    command = arguments[names.index("nsys") + 1 :] if "nsys" in names else []
    return bool(command) and command[0] in _RECORDING
