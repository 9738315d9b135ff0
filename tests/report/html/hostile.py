"""A diff whose every string tries to be more than text."""

from __future__ import annotations

from tests.changed import replace
from tracediff.diff.result import TraceDiff, Verdict
from tracediff.measured import Bits, Control, ModuleBits, Repair, RunEvidence

from .samples import diff, kernel, row, side

ATTACKS = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "' onmouseover='alert(4)",
    "<!--<script>",
    "]]><svg/onload=alert(5)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(6)",
    "\x1b[31mred\x1b[0m",
    "nul\x00nul\ud800",
    "\u202egnp.exe",
    "</title></style></textarea><base href=//evil.example>",
    "&lt;b&gt;&amp;",
    "x" * 10_000,
    "void f<" * 2_000,
    "__proto__",
    "%{customdata}<a href='javascript:alert(7)'>x</a>",
)


def hostile_diff() -> TraceDiff:
    """Every attack as kernel name, reason, phase, module, evidence, fact, note and warning."""
    rows = []
    for number, attack in enumerate(ATTACKS):
        for layer in (0, 1):
            reduce = kernel(f"{attack} splitKreduce", "splitk_reduce", None)
            rows.append(
                replace(
                    row(
                        kernel(f"{attack}a"),
                        kernel(f"b{attack}"),
                        Verdict.ORDER_CHANGED,
                        attack,
                        phase=attack,
                        layer=layer,
                        module=f"model.layers.{layer}.{attack}",
                        evidence=ModuleBits(isolated=Bits(equal=False), propagated=None),
                    ),
                    a=(kernel(f"{attack}a"), reduce),
                )
            )
        rows.append(
            row(None, kernel(attack), Verdict.UNKNOWN, attack, phase=attack, layer=None, module=f"{number}{attack}")
        )
    every = " ".join(ATTACKS)
    facts = {"gpu": every, "model": every, "dtype": every, "versions": {every: every}}
    return diff(
        *rows,
        a=replace(side(every, None, **facts), notes=(every,)),
        b=replace(side(every[::-1], None, **facts), notes=(every,)),
        warnings=(every,),
        evidence=RunEvidence(
            batches=(1, 2),
            logits={attack: Bits(equal=False) for attack in ATTACKS},
            tokens=dict.fromkeys(ATTACKS, (1, 2)),
            first_origin=(every, every),
            repair=Repair(minimal=ATTACKS, logits_equal=True, complement_logits_equal=False, tried=1),
            notes=(every,),
            controls={attack: Control(equal=False, compared=attack, first=attack) for attack in ATTACKS},
        ),
    )
