"""`python -m tracediff` and the console script."""


def main() -> None:
    """Run the command line."""
    from tracediff.cli import app  # noqa: PLC0415 -- keeps `import tracediff.__main__` free of typer

    app(prog_name="tracediff")


if __name__ == "__main__":
    main()
