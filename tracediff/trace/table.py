"""The kernel table: one entry per executed kernel, held as columns.

Ten million kernels are normal, so nothing here is a Python object per kernel: strings are held once and columns hold
codes into them. `KernelTable.to_frame` gives a pandas DataFrame for whoever wants rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from tracediff.kernels import KernelName
from tracediff.text import count, printable
from tracediff.trace.shape import Shape

if TYPE_CHECKING:
    import pandas

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


class TraceInfo(Struct, frozen=True, kw_only=True):
    """Where a trace comes from. What neither the trace nor its manifest says is None.

    Attributes:
        path: The file as the user named it.
        profiler: `nsys` or `torch`.
        profiler_version: Version of the profiler that wrote the trace.
        schema_version: Version of the export's schema.
        gpu: Name of the GPU that ran the kernels.
        sm_count: Its streaming multiprocessors.
        batch: Rows per forward.
        dtype: Element type of the model's weights (`float16`, …).
        model: Preset, directory or hub id.
        tokens: Prompt tokens per row.
        attention: How attention was computed (`sdpa`, `flash`, …).
        weights: `random`, `real`, ….
        layers: Blocks of the model that ran.
        seed: Of random weights and prompts.
        prompt: Token ids of the prompt.
        versions: Versions of driver, CUDA, cuBLAS, torch, … as far as known.
        manifest: The manifest entry of this trace, as captured by tracediff; empty for anyone else's trace.
        chosen_by: Options by which the user says which ranges count, and as what: `--range`, `--phase-range`.
        shape: The shape of the steps that the user chose (`8x1`); None: all steps.
    """

    path: str
    profiler: str
    profiler_version: str | None = None
    schema_version: str | None = None
    gpu: str | None = None
    sm_count: int | None = None
    batch: int | None = None
    dtype: str | None = None
    model: str | None = None
    tokens: int | None = None
    attention: str | None = None
    weights: str | None = None
    layers: int | None = None
    seed: int | None = None
    prompt: tuple[int, ...] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    chosen_by: tuple[str, ...] = ()
    shape: str | None = None

    @property
    def captured(self) -> bool:
        """Whether `tracediff capture` recorded it: a model that it can run again. Recordings are of any program."""
        return "repeat_identical" in self.manifest


class RangeKey(Struct, frozen=True, kw_only=True):
    """Where in the run kernels belong.

    Attributes:
        phase: Text of the outermost range (`prefill`); None outside every range.
        module: Text of the innermost range (`model.layers.5.mlp.down_proj`); empty directly under the phase.
        layer: Index of the module's block, None outside the blocks.
    """

    phase: str | None
    module: str
    layer: int | None


class Coverage(Struct, frozen=True, kw_only=True):
    """How many kernels were attributed to a range, and why the others were not. The counts add up to `kernels`.

    Attributes:
        kernels: Kernels in the trace.
        in_module: Kernels launched inside a range below the phase.
        in_phase_only: Kernels launched directly under a phase.
        outside_ranges: Kernels launched while no range was open on their thread.
        no_launch: Kernels whose launch call is not in the trace.
        captured: Of all these, kernels of CUDA graphs whose module is the one that was captured.
        from_other_threads: Of all these, kernels whose range was open on another thread than the launching one.
        by_repetition: Of those in a module, kernels that no range names: placed in blocks that repeat.
        several_threads: Of those outside, kernels launched while several other threads had a range open.
        in_library_ranges: Of those outside, kernels launched while a range of a library was open.
        before_ranges: Of those outside, kernels launched before the first range began.
    """

    kernels: int
    in_module: int
    in_phase_only: int
    outside_ranges: int
    no_launch: int
    captured: int = 0
    from_other_threads: int = 0
    by_repetition: int = 0
    several_threads: int = 0
    in_library_ranges: int = 0
    before_ranges: int = 0


class KernelTable(Struct, frozen=True, kw_only=True):
    """Every executed kernel of a trace, in launch order, as columns of equal length.

    Attributes:
        info: Where the trace comes from.
        coverage: What was attributed.
        names: Distinct demangled kernel names; `name` holds indices into it.
        parsed: What each of `names` says, same order.
        keys: Distinct (phase, module) pairs in order of first launch; `key` holds indices into it.
        algorithms: Distinct texts of cuBLASLt's algorithm log; `algorithm` holds indices into it, -1 without one.
        shapes: Distinct shapes of steps; `shape` holds indices into it, -1 outside every step. Both empty where the
            trace says no shapes.
        name, key, algorithm: Codes, see above.
        iteration: Which occurrence of its phase a kernel belongs to (0, 1, …); -1 outside every range.
        launch_ns: Start of the launch call in ns; the kernel's own start where the trace has no launch.
        start_ns, duration_ns: On the GPU, in ns.
        grid, block: Thread blocks and threads, shape (kernels, 3).
        registers: Registers per thread.
        shared_memory_bytes: Static and dynamic shared memory per block.
        device, stream: GPU and stream ids.
        process: Index of the process, in order of appearance.
        notes: What a reader of results must know (columns missing, ranges that cross), one sentence each.
    """

    info: TraceInfo
    coverage: Coverage
    names: tuple[str, ...]
    parsed: tuple[KernelName, ...]
    keys: tuple[RangeKey, ...]
    algorithms: tuple[str, ...]
    name: Int32
    key: Int32
    algorithm: Int32
    iteration: Int32
    launch_ns: Int64
    start_ns: Int64
    duration_ns: Int64
    grid: Int32
    block: Int32
    registers: Int32
    shared_memory_bytes: Int32
    device: Int32
    stream: Int32
    process: Int32
    shapes: tuple[Shape, ...] = ()
    shape: Int32 = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.name)

    def __repr__(self) -> str:
        """Return one line: the columns hold every kernel."""
        phases = len({each.phase for each in self.keys if each.phase is not None})
        return printable(
            f"<KernelTable {self.info.path}: {count(len(self), 'kernel')}, {count(phases, 'phase')}, "
            f"{count(len(self.keys), 'module')}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the keys as columns: of many steps there are hundreds of thousands, which take a second one by one."""
        columns = {name: getattr(self, name) for name in self.__struct_fields__ if name != "keys"}
        phases, modules = [key.phase for key in self.keys], [key.module for key in self.keys]
        return _unpickled, (columns, phases, modules, [key.layer for key in self.keys])

    def to_frame(self) -> pandas.DataFrame:
        """Return the table as a DataFrame: strings as categories, one row per executed kernel in launch order."""
        import pandas  # noqa: PLC0415 -- 0.4 s that a diff does not need

        layers = np.array([-1 if key.layer is None else key.layer for key in self.keys], dtype=np.int64)[self.key]
        return pandas.DataFrame(
            {
                "phase": _categorical(self.key, [key.phase for key in self.keys]),
                "layer": pandas.arrays.IntegerArray(layers, layers < 0),
                "module": _categorical(self.key, [key.module for key in self.keys]),
                "iteration": self.iteration,
                "name": _categorical(self.name, self.names),
                "family": _categorical(self.name, [parsed.family for parsed in self.parsed]),
                "role": _categorical(self.name, [parsed.role for parsed in self.parsed]),
                "launch_ns": self.launch_ns,
                "start_ns": self.start_ns,
                "duration_ns": self.duration_ns,
                **{f"grid_{axis}": self.grid[:, position] for position, axis in enumerate("xyz")},
                **{f"block_{axis}": self.block[:, position] for position, axis in enumerate("xyz")},
                "registers": self.registers,
                "shared_memory_bytes": self.shared_memory_bytes,
                "device": self.device,
                "stream": self.stream,
                "process": self.process,
                "algorithm": _categorical(self.algorithm, self.algorithms),
            }
        )


def _unpickled(
    columns: dict[str, Any], phases: list[str | None], modules: list[str], layers: list[int | None]
) -> KernelTable:
    keys = zip(phases, modules, layers, strict=True)
    return KernelTable(
        keys=tuple(RangeKey(phase=phase, module=module, layer=layer) for phase, module, layer in keys), **columns
    )


def _categorical(codes: Int32, values: Sequence[str | None]) -> pandas.Categorical[Any]:
    """Make a categorical of `values[codes]`; None and the code -1 are missing. Values may repeat."""
    import pandas  # noqa: PLC0415

    categories = list(dict.fromkeys(value for value in values if value is not None))
    position = {value: index for index, value in enumerate(categories)}
    recode = np.array([-1 if value is None else position[value] for value in values] + [-1], dtype=np.int32)
    return pandas.Categorical.from_codes(recode[codes], dtype=pandas.CategoricalDtype(categories))
