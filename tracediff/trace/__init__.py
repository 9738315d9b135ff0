"""Read a trace file into a kernel table: columns, not rows."""
