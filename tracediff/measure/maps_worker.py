"""A process that measures one map under its own environment: an order on stdin, the map or an error on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.measure.maps import measure_map, request_from


def main() -> int:
    """Measure what the order says; progress and what libraries print go to stderr."""
    order = json.load(sys.stdin)
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        try:
            result = measure_map(
                request_from(order["request"]),
                None if order["out"] is None else Path(order["out"]),
                force=order["force"],
                progress=lambda text: print(f"{text} …", file=sys.stderr),
            ).to_dict()
        except TracediffError as error:
            result = {"error": str(error)}
    json.dump(result, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
