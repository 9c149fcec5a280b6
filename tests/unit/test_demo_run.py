"""What `make run` says of its guard."""

import pytest

from demo.run import command, guard_note

UPSTREAM = {"UPSTREAM_BASE_URL": "http://localhost:11434/v1"}


def test_the_demo_guard_is_described_as_it_is() -> None:
    note = guard_note({})
    assert "plain cases in English and Chinese; in other languages far less" in note
    assert "no protection" in note
    assert "`MODEL=gen-0.6b make run`" in note
    assert "one harmless answer in ten" not in note
    assert guard_note({"MODEL": "demo"}) == note


def test_with_a_chat_model_of_ones_own_it_says_what_is_withheld_and_what_to_run() -> None:
    note = guard_note(UPSTREAM)
    assert "about one harmless answer in ten" in note
    assert "`MODEL=gen-0.6b UPSTREAM_BASE_URL=http://localhost:11434/v1 make run`" in note


@pytest.mark.parametrize("upstream", [{}, UPSTREAM])
def test_of_a_real_guard_nothing_is_said(upstream: dict[str, str]) -> None:
    assert guard_note({"MODEL": "gen-0.6b"} | upstream) == ""


def test_a_command_keeps_the_settings_that_it_does_not_change() -> None:
    assert command({"HOST": "", "HOME": "/root"}, PROTECTION="both") == "PROTECTION=both make run"
    given = {"MODEL": "gen-4b", "HOST": "functions", "PROTECTION": "filter"} | UPSTREAM
    url = UPSTREAM["UPSTREAM_BASE_URL"]
    expected = f"HOST=functions PROTECTION=guarded MODEL=gen-4b UPSTREAM_BASE_URL={url} make run"
    assert command(given, PROTECTION="guarded") == expected
