"""Kernels that TensorRT's compiler Myelin generates.

    __myl_<operations>_myl<graph>_<n>        __myl_FcMulAdd_myl3_12
    __myl_<operations>_0x<hash>              __myl_MulMeanAddSqrtDivMul_0x5f3a…
    _gemm_mha_v2_0x<hash>                    attention

Operations are words of two to five letters in the order in which they are fused: `Fc` a matrix product, `Mean`, `Sum`,
`Max` reductions, `Move`, `Resh`, `Tran`, `Conc` copies, `Mul`, `Add`, `Silu`, `Cast` elementwise. Graph, number, hash
belong to one build of one engine. There is no tile and no type in the name. [inferred from names in public logs]

The role is the heaviest operation's: a product before a reduction, a reduction before elementwise work. An operation
that is not known makes it `other`, unless a heavier one is.

Examples: `__myl_FcMulAdd_myl3_12`, `__myl_MulMeanAddSqrtDivMul_0x5f3a09c1`.

Details: `ops` (as printed), `graph`, `index`, `hash`.
"""

import re

from tracediff.kernels.model import Detail, KernelName
from tracediff.kernels.spelling import Spelling

_NAME = re.compile(r"__myl_([A-Za-z0-9]{1,200})(?:_myl(\d{1,9})_(\d{1,9})|_(0x[0-9a-fA-F]{1,64}))?")
_ATTENTION = re.compile(r"_gemm_mha_v2(?:_(0x[0-9a-fA-F]{1,64}))?")
_OPERATION = re.compile(r"[A-Z][a-z0-9]*")
_PRODUCTS = frozenset({"Fc", "Gemm", "Matm", "Bmm", "Conv"})
_REDUCTIONS = frozenset({"Mean", "Sum", "Max", "Min", "Prod", "Redu", "Norm", "Sofm", "Topk", "Var", "Arg"})
_COPIES = frozenset({"Move", "Resh", "Tran", "Conc", "Slic", "Gath", "Repl", "Copy", "Pad", "Shuf"})
_ELEMENTWISE = frozenset(
    {"Mul", "Add", "Sub", "Div", "Sqrt", "Rsqrt", "Exp", "Log", "Pow", "Neg", "Abs", "Silu", "Gelu", "Relu", "Sigm"}
    | {"Tanh", "Erf", "Sin", "Cos", "Cast", "Sele", "Clip", "Equ", "Les", "Gre", "And", "Or", "Not"}
)


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of Myelin's kernels; None where it is none."""
    if (attention := _ATTENTION.fullmatch(spelling.procedural)) is not None:
        printed: list[tuple[str, Detail]] = [("hash", attention[1])] if attention[1] else []
        return KernelName(name=name, family="myelin", role="attention", kind="mha", details=tuple(printed))
    found = _NAME.fullmatch(spelling.procedural)
    if found is None:
        return None
    operations, graph, index, number = found.groups()
    details: list[tuple[str, Detail]] = [("ops", operations)]
    if graph is not None:
        details += [("graph", int(graph)), ("index", int(index))]
    if number is not None:
        details.append(("hash", number))
    return KernelName(name=name, family="myelin", role=_role(operations), details=tuple(details))


def _role(operations: str) -> str:
    words = frozenset(_OPERATION.findall(operations))
    if words & _PRODUCTS:
        return "gemm"
    if words & _REDUCTIONS:
        return "reduction"
    if not words or not words <= _COPIES | _ELEMENTWISE:
        return "other"
    return "copy" if words <= _COPIES else "elementwise"
