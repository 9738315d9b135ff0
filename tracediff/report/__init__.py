"""Every report is a function of one result object: terminal, HTML, Markdown, CSV, JSON, SQLite."""
