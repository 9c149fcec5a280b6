from pathlib import Path

import pytest

from webui.request_fields import MESSAGE_FIELDS, REQUEST_FIELDS, Treatment, words_in

COVERAGE = Path(__file__).resolve().parents[2] / "docs/coverage.md"


@pytest.mark.parametrize(
    "field",
    [name for name, how in REQUEST_FIELDS.items() if how in (Treatment.JUDGED, Treatment.TOOLS, Treatment.LEFT_OUT)],
)
def test_the_page_on_coverage_names_what_is_judged_or_left_out(field: str) -> None:
    assert field.startswith("qwen3guard_") or f"`{field}`" in COVERAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("auto", []),
        ("Human:", []),
        (["<|im_end|>", "\n\nUser: "], []),
        ({"order": ["a", "b"], "allow": True}, []),
        ("John Müller", []),
        ("王小明", []),
        ("how is bread made", ["how is bread made"]),
        ("how_is_the_bread_made", ["how_is_the_bread_made"]),
        ("面包是怎么做的", ["面包是怎么做的"]),
        ({"a": [{"b": "how is bread made"}]}, ["how is bread made"]),
        ({"how is bread made": 1}, ["how is bread made"]),
    ],
)
def test_a_setting_is_judged_if_it_is_a_sentence(value: object, texts: list[str]) -> None:
    for field in ("stop", "user", "metadata", "options"):
        assert words_in(REQUEST_FIELDS, {field: value}).texts == texts


@pytest.mark.parametrize(("value", "texts"), [("Ann", []), ("the cook", ["the cook"]), (1, []), (None, [])])
def test_a_label_is_judged_if_it_is_more_than_a_label(value: object, texts: list[str]) -> None:
    assert words_in(MESSAGE_FIELDS, {"name": value}).texts == texts


def test_open_webui_reads_its_own_fields_itself() -> None:
    fields = {"metadata": {"note": "how is bread made"}, "files": [{"type": "file", "text": "how is bread made"}]}
    assert words_in(REQUEST_FIELDS, fields, host=True) == ([], [])
    assert words_in(REQUEST_FIELDS, fields) == (["how is bread made", "how is bread made"], ["file"])
    assert words_in(REQUEST_FIELDS, {"files": [{"type": "image", "url": "a"}]}, host=True).media == ["image"]
