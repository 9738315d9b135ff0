"""Progress in a log: plain lines with n of N and the time left."""

from tracediff.cli.progress import _LineNowAndThen, counting


def test_a_line_comes_at_the_start_every_ten_seconds_and_at_the_end(capsys):
    seconds = iter([0.0, 1.0, 20.0, 21.0, 40.0])
    tell = _LineNowAndThen(clock=lambda: next(seconds))
    for done in (0, 1, 2, 3, 4):
        tell(done, 4, f"prompt {done}")
    assert capsys.readouterr().err.splitlines() == [
        "0 of 4: prompt 0",
        "2 of 4: prompt 2, about 0:20 left",
        "4 of 4: prompt 4",
    ]


def test_the_time_left_counts_from_where_a_resumed_search_began(capsys):
    seconds = iter([0.0, 60.0])
    tell = _LineNowAndThen(clock=lambda: next(seconds))
    tell(500, 1000, "float16")
    tell(600, 1000, "float16")
    assert capsys.readouterr().err.splitlines()[-1] == "600 of 1,000: float16, about 4:00 left"


def test_where_stderr_is_no_terminal_lines_are_printed(capsys):
    with counting() as tell:
        tell(0, 2, "\x1b[31mred")
    assert capsys.readouterr().err == "0 of 2: \\x1b[31mred\n"
