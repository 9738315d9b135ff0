"""A process that holds a model under one environment and measures what it is told: one JSON object per line each way.

    {"load": SPEC, "device": …, "float32": false}             → {"machine": …}
    {"reference": PATH, "prompt": n, "seed": n}               → {}        writes float32 logits
    {"bits": SETTING, "request": …, "reference": PATH | null} → {"bits": …}
    {"prepare": [SETTING…], "keys": n, "batch": n, "seed": n} → {"prepared": {SETTING: null | why not}, "replayed": …}
    {"time": SETTING, "repeats": n}                           → {"milliseconds": …}
    {"release": true}                                         → {}

An answer `{"error": text}` is the user's to mend. `tracediff.measure.remedies` starts one process per environment.
"""

from __future__ import annotations

import contextlib
import json
import sys
from contextlib import ExitStack
from typing import Any

from tracediff.errors import TracediffError


class Worker:
    """Holds the model and the steps that are ready to be timed."""

    def __init__(self) -> None:
        self._model: Any = None
        self._ready: dict[str, Any] = {}
        self._stack = ExitStack()

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order; its first key names it."""
        orders = {
            "load": self._load,
            "reference": self._reference,
            "bits": self._bits,
            "prepare": self._prepare,
            "time": self._time,
            "release": self._release,
        }
        return orders[next(iter(order))](order)

    def _load(self, order: dict[str, Any]) -> dict[str, Any]:
        from tracediff.measure.fused_products import lay_weights_together  # noqa: PLC0415
        from tracediff.measure.machine import machine  # noqa: PLC0415
        from tracediff.model.load import load_model  # noqa: PLC0415
        from tracediff.model.spec import ModelSpec  # noqa: PLC0415

        self._model = load_model(ModelSpec(**order["load"]), order["device"])
        lay_weights_together(self._model)
        return {"machine": machine(order["device"])}

    def _reference(self, order: dict[str, Any]) -> dict[str, Any]:
        import torch  # noqa: PLC0415

        from tracediff.findings.remedies_catalog import Setting  # noqa: PLC0415
        from tracediff.measure.remedies_apply import applied  # noqa: PLC0415
        from tracediff.measure.remedies_bits import reference_logits  # noqa: PLC0415

        self._model.float()
        with applied(Setting(), self._model):
            torch.save(reference_logits(self._model, order["prompt"], order["seed"]), order["reference"])
        return {}

    def _bits(self, order: dict[str, Any]) -> dict[str, Any]:
        import torch  # noqa: PLC0415

        from tracediff.findings.remedies import bits_to_json  # noqa: PLC0415
        from tracediff.measure.remedies_bits import BitsRequest, measure_bits  # noqa: PLC0415

        fields = order["request"]
        lists = {name: tuple(fields[name]) for name in ("keys", "batches", "prefill_batches")}
        request = BitsRequest(**{**fields, **lists})
        reference = torch.load(order["reference"]) if order["reference"] else None
        return {"bits": bits_to_json(measure_bits(self._model, order["bits"], request, reference))}

    def _prepare(self, order: dict[str, Any]) -> dict[str, Any]:
        from tracediff.measure.timed_steps import timed_steps  # noqa: PLC0415

        self._release(order)
        steps = timed_steps(self._model, order["prepare"], order["keys"], order["batch"], order["seed"])
        self._ready = self._stack.enter_context(steps)
        why = {name: step if isinstance(step, str) else None for name, step in self._ready.items()}
        return {"prepared": why, "replayed": any(getattr(step, "on_gpu", False) for step in self._ready.values())}

    def _time(self, order: dict[str, Any]) -> dict[str, Any]:
        return {"milliseconds": self._ready[order["time"]].milliseconds(order["repeats"])}

    def _release(self, order: dict[str, Any]) -> dict[str, Any]:
        self._ready = {}
        self._stack.close()
        return {}


def main() -> int:
    """Answer orders until the input ends. What libraries print goes to stderr: stdout is the answers'."""
    answers = sys.stdout
    worker = Worker()
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            try:
                answer = worker.answer(json.loads(line))
            except TracediffError as error:
                answer = {"error": str(error)}
            except Exception as error:
                if type(error).__name__ != "OutOfMemoryError":
                    raise
                answer = {"error": "out of memory"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
