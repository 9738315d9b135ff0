"""Where a trace comes from: the export's own metadata and the manifest beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tracediff.trace.columns import Source
from tracediff.trace.table import TraceInfo

MANIFEST = "manifest.json"
#: Larger files are no manifest of ours.
_MANIFEST_LIMIT_BYTES = 16 << 20


def read_info(export: Source) -> TraceInfo:
    """Return what the export and the manifest beside it say of the trace."""
    meta = _export_metadata(export)
    gpu, sm_count = _gpu(export)
    return described(
        export.path,
        profiler="nsys",
        profiler_version=meta.get("EXPORT_PRODUCT_VERSION"),
        schema_version=meta.get("EXPORT_SCHEMA_VERSION"),
        gpu=gpu,
        sm_count=sm_count,
        versions={},
    )


def described(
    path: Path,
    *,
    profiler: str,
    profiler_version: str | None,
    schema_version: str | None,
    gpu: str | None,
    sm_count: int | None,
    versions: dict[str, str],
) -> TraceInfo:
    """Add to what a trace says of itself what the manifest beside it says of it."""
    manifest = read_manifest(path)
    entry = next((each for each in _list(manifest.get("traces")) if _dict(each).get("file") == path.name), None)
    about = manifest if entry is not None else {}
    versions = versions | {str(name): str(value) for name, value in _dict(about.get("versions")).items()}
    return TraceInfo(
        path=str(path),
        profiler=profiler,
        profiler_version=profiler_version or versions.get(profiler),
        schema_version=schema_version,
        gpu=gpu or _text(about.get("gpu")),
        sm_count=sm_count or _integer(about.get("sm_count")),
        batch=_integer(_dict(entry).get("batch")),
        dtype=_text(about.get("dtype")),
        model=_text(about.get("model")),
        tokens=_integer(about.get("tokens")),
        versions=versions,
        manifest=_dict(entry),
    )


def read_manifest(trace: Path) -> dict[str, Any]:
    """Return the manifest beside a trace, empty where there is none that can be read."""
    return _manifest(trace)[0]


def manifest_note(trace: Path) -> str | None:
    """Say why the manifest beside a trace is not used, None where it is or where there is none."""
    manifest, problem = _manifest(trace)
    if problem is not None:
        return f"{MANIFEST} beside the trace is not used: {problem}"
    described_files = [_dict(each).get("file") for each in _list(manifest.get("traces"))]
    if manifest and trace.name not in described_files:
        return f"{MANIFEST} beside the trace does not describe {trace.name}"
    return None


def _manifest(trace: Path) -> tuple[dict[str, Any], str | None]:
    path = trace.absolute().parent / MANIFEST
    try:
        if not path.is_file():
            return {}, None
        if path.stat().st_size > _MANIFEST_LIMIT_BYTES:
            return {}, "it is too large"
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, error.strerror or str(error)
    except (ValueError, RecursionError):
        return {}, "it is no JSON"
    return (manifest, None) if isinstance(manifest, dict) else ({}, "it is no JSON object")


def _export_metadata(export: Source) -> dict[str, str]:
    # 2022's exports call the table EXPORT_META_DATA.
    for table in ("META_DATA_EXPORT", "EXPORT_META_DATA"):
        if export.has(table, "name", "value"):
            return {str(name): str(value) for name, value in export.small(table, "name", "value")}
    return {}


def _gpu(export: Source) -> tuple[str | None, int | None]:
    if not export.has("TARGET_INFO_GPU", "name"):
        return None, None
    columns = [column for column in ("id", "name", "smCount") if export.has("TARGET_INFO_GPU", column)]
    rows = [dict(zip(columns, row, strict=True)) for row in export.small("TARGET_INFO_GPU", *columns)]
    first = min(rows, key=lambda row: _integer(row.get("id")) or 0, default={})
    return _text(first.get("name")), _integer(first.get("smCount"))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
