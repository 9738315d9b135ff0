"""Where a trace comes from: the export's own metadata and the manifest beside it."""

from __future__ import annotations

from pathlib import Path

from tracediff.trace.columns import Source
from tracediff.trace.manifest import MANIFEST, RecordedManifest, read_manifest
from tracediff.trace.table import TraceInfo


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
    manifest, whole_entry, _ = read_manifest(path)
    entry = None if manifest is None else manifest.entry(path.name)
    about = manifest if manifest is not None and entry is not None else RecordedManifest()
    versions = versions | about.versions
    return TraceInfo(
        path=str(path),
        profiler=profiler,
        profiler_version=profiler_version or versions.get(profiler),
        schema_version=schema_version,
        gpu=gpu or about.gpu or None,
        sm_count=sm_count or about.sm_count,
        batch=None if entry is None else entry.batch,
        dtype=about.dtype or None,
        model=about.model or None,
        tokens=about.tokens,
        attention=about.attention or None,
        weights=about.weights or None,
        layers=about.layers,
        seed=about.seed,
        prompt=about.prompt_tokens,
        versions=versions,
        manifest=whole_entry,
    )


def manifest_note(trace: Path) -> str | None:
    """Say why the manifest beside a trace is not used, None where it is or where there is none."""
    manifest, _, problem = read_manifest(trace)
    if problem is not None:
        return f"{MANIFEST} beside the trace is not used: {problem}"
    if manifest is not None and manifest.entry(trace.name) is None:
        return f"{MANIFEST} beside the trace does not describe {trace.name}"
    return None


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


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
