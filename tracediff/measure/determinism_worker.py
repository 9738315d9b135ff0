"""Measures the deterministic setting in a process of its own: a request as JSON on stdin, rows as JSON on stdout."""

import json
import sys
from dataclasses import asdict

from tracediff.measure.determinism import DeterminismRequest, measure_setting


def main() -> None:
    """Read one request, measure it, print the rows."""
    data = json.load(sys.stdin)
    request = DeterminismRequest(**{**data, "dtypes": tuple(data["dtypes"])})
    json.dump([asdict(row) for row in measure_setting(request, "deterministic")], sys.stdout)


if __name__ == "__main__":
    main()
