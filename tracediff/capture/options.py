"""What the user asked a capture for."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from tracediff.bounds import require_number
from tracediff.errors import TracediffError
from tracediff.model.spec import ModelSpec

DEFAULT_FOLDER = Path("tracediff-runs")

AUTO, NSYS, TORCH = PROFILERS = ("auto", "nsys", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """What to capture.

    Attributes:
        spec: The model.
        batches: Rows per forward, each a trace of its own.
        prompt: The prompt's text; None makes a random one.
        chat: Whether the text is one user message, put into the model's own chat template.
        store_prompt: Whether the manifest holds the prompt: its text in the command, and its token ids.
        tokens: Length of a random prompt.
        decode: Decode steps after the prefill.
        out: Folder for the traces; None derives one below `tracediff-runs`.
        profiler: `nsys`, `torch` (torch's own, whose traces hold no algorithm marks), or `auto`: nsys where it works.
        algorithm_log: Whether cuBLASLt's chosen algorithms become marks in the trace.
        keep_reports: Whether nsys's own reports are kept, environment and all.
        force: Whether a folder that holds files may be written to.
        nsys: The profiler; None looks for one.
        evidence: Whether bits are measured after recording; None: on a GPU.
        activations: Whether the outputs of every module that makes a difference are stored with the evidence.
        device: `cuda`; on a `cpu` there are no kernels: torch's profiler records operators, nsys the ranges alone.
    """

    spec: ModelSpec
    batches: tuple[int, ...]
    prompt: str | None = None
    chat: bool = False
    store_prompt: bool = True
    tokens: int = 6
    decode: int = 2
    profiler: str = AUTO
    out: Path | None = None
    algorithm_log: bool = True
    keep_reports: bool = False
    force: bool = False
    nsys: Path | None = None
    evidence: bool | None = None
    activations: bool = False
    device: str = "cuda"

    def __post_init__(self) -> None:
        if not self.batches:
            raise TracediffError("no batch size", "give --batch 1 2")
        if len(set(self.batches)) < len(self.batches):
            raise TracediffError("a batch size is given twice", "name each once")
        if self.profiler not in PROFILERS:
            raise TracediffError(f"unknown profiler {self.profiler}", f"choose one of {', '.join(PROFILERS)}")
        if self.profiler == TORCH and (self.nsys is not None or self.keep_reports):
            option = "--nsys" if self.nsys is not None else "--keep-reports"
            raise TracediffError(f"{option} and --profiler torch exclude each other", "leave one out")
        if self.chat and self.prompt is None:
            raise TracediffError("--chat needs a prompt", "give --prompt a text")
        if self.activations and self.evidence is False:
            raise TracediffError("--activations and --no-evidence exclude each other", "leave one out")
        for name, value, least in (
            *(("--batch", batch, 1) for batch in self.batches),
            ("--tokens", self.tokens, 1),
            ("--decode", self.decode, 0),
        ):
            require_number(name, value, least)

    @property
    def insists_on_nsys(self) -> bool:
        """Whether nothing but nsys will do: it, or something that only it has, was asked for."""
        return self.profiler == NSYS or self.nsys is not None or self.keep_reports

    def measures_evidence_on(self, device: str) -> bool:
        """Whether bits are measured after recording on `device`."""
        return device.startswith("cuda") or self.activations if self.evidence is None else self.evidence

    @property
    def folder(self) -> Path:
        """Where the traces go: `--out`, or a name that says what was recorded."""
        if self.out is not None:
            return self.out
        prompt = f"tokens{self.tokens}" if self.prompt is None else "prompt"
        layers = "" if self.spec.layers is None else f"-layers{self.spec.layers}"
        return DEFAULT_FOLDER / f"{self.spec.label.replace('/', '--')}{layers}-{self.spec.dtype}-{prompt}"

    @property
    def command(self) -> str:
        """The command line that does it again, without paths, and without a prompt that is not to be stored."""
        stored = self.prompt if self.store_prompt else "(not stored)"
        text = [] if self.prompt is None else ["--prompt", stored or ""]
        words = [
            *("tracediff", "capture", "--batch", *map(str, self.batches)),
            *("--model", self.spec.label, "--dtype", self.spec.dtype),
            *(text or ["--tokens", str(self.tokens)]),
            *(["--chat"] if self.chat else []),
            *("--decode", str(self.decode)),
            *([] if self.spec.layers is None else ["--layers", str(self.spec.layers)]),
            *("--attention", self.spec.attention, "--seed", str(self.spec.seed)),
            *([] if self.profiler == AUTO else ["--profiler", self.profiler]),
            *([] if self.algorithm_log else ["--no-algorithm-log"]),
            *([] if self.store_prompt else ["--no-store-prompt"]),
        ]
        return shlex.join(words)
