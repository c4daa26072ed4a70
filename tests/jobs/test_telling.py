"""What takes long says how far it is: seldom, in lines, and on a terminal in one."""

import sys

import pytest

from overpaint.jobs import telling


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time in seconds, which goes on as the test says."""
    now = [0.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    return now


def test_what_is_quick_says_nothing(capsys):
    assert list(telling.counted([1, 2, 3], "done")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_what_takes_long_says_so_every_few_seconds(capsys, clock):
    for _ in telling.counted(range(20), "packed"):
        clock[0] += telling.EVERY_S / 5
    assert capsys.readouterr() == ("", "packed: 5 of 20\npacked: 10 of 20\npacked: 15 of 20\n")


def test_a_terminal_shows_one_line_and_none_at_the_end(capsys, clock, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for _ in telling.counted(range(3), "packed"):
        clock[0] += telling.EVERY_S
    said = capsys.readouterr().err
    assert said == f"{telling.ERASE}packed: 1 of 3{telling.ERASE}packed: 2 of 3{telling.ERASE}"
