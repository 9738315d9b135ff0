"""What cuBLASLt says it chose for one matmul, as its log line appears in a trace (an NVTX mark before the launch).

    cublasLtHSHMatmul Adesc=[type=R_16F rows=4096 cols=4096 ld=4096] Bdesc=[… rows=4096 cols=6 …] Cdesc=[…] Ddesc=[…]
    computeDesc=[computeType=COMPUTE_32F scaleType=R_32F transa=OP_T …] algo=[algoId=66 tile=MATMUL_TILE_128x8
    stages=MATMUL_STAGES_64xAUTO reductionScheme=REDUCTION_SCHEME_COMPUTE_TYPE numSplitsK=3 customOption=1
    clusterShape=CLUSTER_SHAPE_4x1x1] workSpaceSizeInBytes=294928 …

An unsplit algorithm omits `numSplitsK`; a launch without tile and stages (cuBLAS's own kernels) says an algoId alone,
and then nothing is known about a split. Source: measured on cuBLAS 13.1, where all fields agree with the kernels.
"""

import re
from dataclasses import dataclass, field

_GROUP = re.compile(r"(\w+)=\[([^\]]*)\]")
_PAIR = re.compile(r"(\w+)=(\S+)")
_NUMBERS = re.compile(r"\d+")


# Not a struct: two lines that say the same are equal, whatever their text.
@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One line of cuBLASLt's log. What the line does not say is None.

    Attributes:
        function: The logged function (`cublasLtHSHMatmul`): types of A, compute and D.
        m, n, k: The problem as cuBLAS sees it (column-major: m is out features, n is tokens).
        type_a, type_b, type_d: Element types (`R_16F`).
        compute_type: Type of the sums (`COMPUTE_32F`, `COMPUTE_32F_FAST_TF32`, …).
        layout: `TN`, `NN`, … of A and B.
        algorithm_id: cuBLASLt's algoId; 66 is nvjet, 55 xmma (measured).
        tile: [m, n] in cuBLAS's frame.
        stages: cuBLASLt's words, `64xAUTO`: k-step × pipeline stages.
        split_k: numSplitsK; 1 where tile and stages are stated and it is not.
        reduction_scheme: How the parts are added (`COMPUTE_TYPE`, `INPLACE`, `OUTPUT_TYPE`); None when unsplit.
        cluster: Thread-block cluster.
        custom_option: cuBLASLt's customOption.
        inner_shape: cuBLASLt's innerShapeId.
        swizzle: cuBLASLt's ctaSwizzling.
        workspace_bytes: Workspace handed over.
        text: The line itself, to be stored; two lines that say the same are equal.
    """

    function: str
    m: int | None = None
    n: int | None = None
    k: int | None = None
    type_a: str | None = None
    type_b: str | None = None
    type_d: str | None = None
    compute_type: str | None = None
    layout: str | None = None
    algorithm_id: int | None = None
    tile: tuple[int, int] | None = None
    stages: str | None = None
    split_k: int | None = None
    reduction_scheme: str | None = None
    cluster: tuple[int, ...] | None = None
    custom_option: int | None = None
    inner_shape: str | None = None
    swizzle: str | None = None
    workspace_bytes: int | None = None
    text: str = field(default="", compare=False, repr=False)

    @property
    def k_step(self) -> int | None:
        """Elements of k per main-loop step, as `stages` states it."""
        if self.stages is None:
            return None
        step = self.stages.partition("x")[0]
        return int(step) if step.isdecimal() else None


def is_algorithm_log(text: str) -> bool:
    """Whether an NVTX mark holds a line of cuBLASLt's log."""
    return text.startswith("cublasLt") and "algo=[" in text


def without_pointers(text: str) -> str:
    """Return a log line without its pointers (`A=0X7FE210000000`): with them hardly two lines are the same."""
    first, *rest = text.split("=0X")
    return text if not rest else f"{first} {' '.join(each.partition(' ')[2] for each in rest)}"


def parse_algorithm(text: str) -> Algorithm:
    """Read one log line. Never raises: what is missing or malformed is None."""
    groups = {name: dict(_PAIR.findall(body)) for name, body in _GROUP.findall(text)}
    flat = dict(_PAIR.findall(_GROUP.sub("", text)))
    a, b, d = (groups.get(name, {}) for name in ("Adesc", "Bdesc", "Ddesc"))
    compute, algorithm = groups.get("computeDesc", {}), groups.get("algo", {})
    transposed_a = compute.get("transa", "OP_N") != "OP_N"
    transposed_b = compute.get("transb", "OP_N") != "OP_N"
    scheme = algorithm.get("reductionScheme")
    tile = _sizes(algorithm.get("tile"))
    stages = algorithm.get("stages")
    stated = _integer(algorithm.get("numSplitsK"))
    return Algorithm(
        function=text.split(maxsplit=1)[0] if text.strip() else "",
        m=_integer(d.get("rows")),
        n=_integer(d.get("cols")),
        k=_integer(a.get("rows" if transposed_a else "cols")),
        type_a=a.get("type"),
        type_b=b.get("type"),
        type_d=d.get("type"),
        compute_type=compute.get("computeType"),
        layout=("T" if transposed_a else "N") + ("T" if transposed_b else "N") if compute else None,
        algorithm_id=_integer(algorithm.get("algoId")),
        tile=(tile[0], tile[1]) if tile is not None and len(tile) == 2 else None,
        stages=stages.removeprefix("MATMUL_STAGES_") if stages else None,
        split_k=stated if stated is not None else (1 if tile is not None and stages is not None else None),
        reduction_scheme=scheme.removeprefix("REDUCTION_SCHEME_") if scheme else None,
        cluster=_sizes(algorithm.get("clusterShape")),
        custom_option=_integer(algorithm.get("customOption")),
        inner_shape=algorithm.get("innerShapeId"),
        swizzle=algorithm.get("ctaSwizzling"),
        workspace_bytes=_integer(flat.get("workSpaceSizeInBytes")),
        text=text,
    )


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else None


def _sizes(text: str | None) -> tuple[int, ...] | None:
    numbers = _NUMBERS.findall(text) if text else []
    return tuple(int(number[:9]) for number in numbers) or None
