"""Which processes count as an nsys of the program's own."""

import pytest

from tracediff.capture.record import own_nsys


@pytest.mark.parametrize(
    ("name", "arguments", "found"),
    [
        ("nsys", ["nsys", "profile", "python", "x.py"], True),
        ("nsys", ["/opt/nsys/bin/nsys", "launch", "python"], True),
        ("nsys", ["nsys", "start", "--output=x"], True),
        ("nsys", ["/bin/bash", "-e", "/usr/local/bin/nsys", "profile", "python"], True),
        ("nsys", ["nsys", "stats", "profile"], False),
        ("nsys", ["nsys", "export", "--output", "start"], False),
        ("nsys", ["nsys", "--version"], False),
        ("nsys", ["nsys"], False),
        ("nsys", [], False),
        ("nsys-ui", ["nsys-ui", "profile"], False),
        ("grep", ["grep", "nsys", "profile"], False),
    ],
)
def test_only_one_that_records_does(monkeypatch, name, arguments, found):
    monkeypatch.setattr(own_nsys.launcher, "descendants", {1: [7, 8]}.__getitem__)
    monkeypatch.setattr(own_nsys.launcher, "name_of", {7: "python", 8: name}.__getitem__)
    monkeypatch.setattr(own_nsys.launcher, "arguments_of", {7: ["python", "x.py"], 8: arguments}.__getitem__)
    assert own_nsys.starts_own_nsys(1) is found
