"""NCCL's device kernels.

    ncclDevKernel_<Coll>[_<op>_<type>]_<algorithm>_<protocol>(ncclDevKernelArgsStorage<…>)     NCCL ≥ 2.19
    ncclKernel_<Coll>_<algorithm>_<protocol>_<op>_<type>(ncclDevComm*, unsigned long, ncclWork*)    before
    ncclDevKernel_Generic_<n>                                                                  any collective

Source: NCCL's src/device/generate.py. Verified. What a collective sums, it sums over devices: AllReduce, Reduce and
ReduceScatter have role `reduction`, the others move data: role `copy`. The generic kernel does not say what it
does: `other`.

Details: `algorithm`, `protocol`, `operation`.
"""

from tracediff.kernels.meanings import VERIFIED, Meanings, TokenRule
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling

_ROLES = {
    "AllReduce": "reduction",
    "Reduce": "reduction",
    "ReduceScatter": "reduction",
    "AllGather": "copy",
    "Broadcast": "copy",
    "SendRecv": "copy",
    "AllToAll": "copy",
    "Gather": "copy",
    "Scatter": "copy",
}
# Words of an algorithm's name: `RING`, `NVLS_TREE`, `COLLNET_DIRECT`, …
_ALGORITHM_WORDS = frozenset(["RING", "TREE", "COLLNET", "DIRECT", "CHAIN", "NVLS", "PAT"])
_PROTOCOLS = frozenset(["LL", "LL128", "SIMPLE"])
_OPERATIONS = frozenset(["Sum", "Prod", "Max", "Min", "MinMax", "PreMulSum", "SumPostDiv", "Avg"])
_TYPES = {
    "f16": "f16",
    "half": "f16",
    "bf16": "bf16",
    "f32": "f32",
    "float": "f32",
    "f64": "f64",
    "double": "f64",
    "u8": "u8",
    "uint8": "u8",
    "i8": "s8",
    "int8": "s8",
    "u32": "u32",
    "uint32": "u32",
    "i32": "s32",
    "int32": "s32",
    "u64": "u64",
    "uint64": "u64",
    "i64": "s64",
    "int64": "s64",
    "f8e4m3": "e4m3",
    "f8e5m2": "e5m2",
}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one NCCL name."""
    tokens = spelling.procedural.split("_")
    collective = tokens[1] if len(tokens) > 1 else None
    details: dict[str, Detail] = {}
    unparsed: list[str] = []
    element = None
    for token in tokens[2:]:
        if token in _ALGORITHM_WORDS:
            before = details.get("algorithm")
            details["algorithm"] = f"{before}_{token}" if before else token
        elif token in _PROTOCOLS:
            details["protocol"] = token
        elif token in _OPERATIONS:
            details["operation"] = token
        elif token in _TYPES:
            element = _TYPES[token]
        elif token != "t" and not (collective == "Generic" and token.isdigit()):
            unparsed.append(token)
    return KernelName(
        name=name,
        family="nccl",
        role=_ROLES.get(collective or "", "other"),
        types=Types(a=element, output=element) if element else None,
        unparsed="_".join(unparsed) or None,
        kind=collective,
        details=tuple(details.items()),
    )


_TOKENS: tuple[TokenRule, ...] = (
    (r"nccl(?:Dev)?Kernel", "NCCL", VERIFIED, True),
    (r"RING|TREE|NVLS|COLLNET|PAT|DIRECT|CHAIN", "algorithm", VERIFIED, False),
    (r"LL|LL128|SIMPLE", "protocol", VERIFIED, True),
    (r"Sum|Prod|Max|Min|MinMax|PreMulSum|SumPostDiv|Avg", "operation", VERIFIED, True),
    (r"Generic_\d+", "any collective: the name does not say which", VERIFIED, True),
    (r"[A-Z][A-Za-z]+", "collective", VERIFIED, True),
    (r"nv_bfloat16|u?int\d{1,2}_t", "element type", VERIFIED, True),
    (r"\w+", "element type", VERIFIED, True),
)

MEANINGS = Meanings(
    tokens={"nccl": _TOKENS},
)
