import base64
import time
from typing import Any

import pytest

from webui.json_text import as_text, find, is_blob, is_text, media_of, without_media

BLOB = "aB3/" * 40
PICTURE = f"data:image/png;base64,{BLOB}"


@pytest.mark.parametrize(
    "value",
    [
        "First take",
        "炸弹",
        "how_to_make_a_cake",
        "HowToMakeACake",
        "https://a.example/how-to",
        "a  b",
        "Ü",
        "one" * 30 + " two",
        "dGhlIHdheSB0byBzY2hvb2w=",
        base64.b64encode(b"This is the way to the school, and no picture. ").decode(),
        "炸弹是什么？".encode().hex() * 2,
    ],
)
def test_words_are_text_under_any_key(value: str) -> None:
    assert is_text(value)
    for key in ("id", "type", "role", "signature", "x"):
        assert find({key: value}).texts == [value]
    assert find({value: 1}).texts == [value]


@pytest.mark.parametrize(
    "value",
    ["safe", "chatcmpl-9fA", "2026-01-01T00:00:00Z", "reasoning.text", "content_filter", "3.5", "v1", BLOB, "0f" * 32],
)
def test_labels_and_blobs_are_text_only_in_a_place_for_prose(value: str) -> None:
    assert not is_text(value)
    assert find({"severity": value, value: [value]}).texts == []
    assert find({"text": value}).texts == [value]
    assert find([value], prose=True).texts == [value]


def test_pictures_and_sound_are_named_and_cost_nothing() -> None:
    big = "data:image/png;base64," + "aB3/" * 400_000
    parts: list[Any] = [
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}, "text": "a cat"},
        {"type": "input_audio", "input_audio": {"data": BLOB, "format": "wav"}},
        big,
        [[{"url": "data:audio/wav;base64,AAAA"}]],
    ]
    started = time.process_time()
    found = find(parts)
    assert (found.texts, found.media) == (["a cat"], ["image_url", "input_audio", "image", "audio"])
    assert time.process_time() - started < 0.5
    assert media_of(PICTURE) == "image"
    assert is_blob(BLOB)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ({"type": "image_url", "image_url": {"url": "the way to school"}}, ["the way to school"]),
        ("data:text/plain;base64,dGhlIHdheQ==", ["the way"]),
        ("data:text/plain,the%20way", ["the way"]),
        ("data:image/png;base64,dGhlIHdheQ==", ["the way"]),
        ("data:application/json;base64,eyJ0aGUiOiAid2F5In0=", ['{"the": "way"}']),
        ("data:image/svg+xml;base64,PHN2Zz50aGUgd2F5PC9zdmc+", ["<svg>the way</svg>"]),
        ("data:text/plain;base64,%%%", []),
        ("data:image/png;base64,AAAA) the way", [") the way"]),
        ("data:image/svg+xml;utf8,<svg><text>the way</text></svg>", ["<svg><text>the way</text></svg>"]),
    ],
)
def test_words_in_a_pictures_place_or_a_data_url_are_text(value: Any, texts: list[str]) -> None:
    assert find(value).texts == texts


def test_no_depth_is_too_deep() -> None:
    deepest: dict[str, Any] = {"id": "the way to school"}
    for _ in range(100_000):
        deepest = {"a": [deepest]}
    assert find(deepest).texts == ["the way to school"]
    while deepest.get("a"):
        deepest = deepest["a"][0]


def test_texts_come_in_order() -> None:
    value = {"b": "first one", "a": [{"text": "second"}, "the third"], "the key": "last one"}
    assert find(value).texts == ["first one", "second", "the third", "the key", "last one"]


@pytest.mark.parametrize(
    ("text", "left", "kinds"),
    [
        (f"![a]({PICTURE}) and", "![a]() and", ["image"]),
        (f"<img src='{PICTURE}'>{PICTURE}", "<img src=''>", ["image"]),
        ("data:audio/wav;base64,AAAA", "", ["audio"]),
        ("DATA:Application/PDF;BASE64,JVBERi0", "", ["file"]),
        ("data:image/svg+xml,<svg>the way</svg>", "data:image/svg+xml,<svg>the way</svg>", []),
        ("data:image/png;base64,HowDoIGoThere", "data:image/png;base64,HowDoIGoThere", []),
        ("data:image/png;base64,school", "data:image/png;base64,school", []),
        ("data:image/png;base64,dGhlIHdheQ==", "data:image/png;base64,dGhlIHdheQ==", []),
        ("data:image/png;base64," + "thewaytoschool" * 9, "data:image/png;base64," + "thewaytoschool" * 9, []),
        ("the data: a picture;base64,", "the data: a picture;base64,", []),
    ],
)
def test_media_inside_text_are_removed_and_words_stay(text: str, left: str, kinds: list[str]) -> None:
    assert without_media(text) == (left, kinds)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("iVBORw0KGgo" + BLOB * 2, "image"),
        ("/9j/" + "A" * 400, "image"),
        ("UklGR" + BLOB * 2, "image"),
        ("JVBERi0" + BLOB * 2, "file"),
        ("data:image/png;base64," + "A" * 400, "image"),
        ("data:image/png,How do I go there?", None),
        ("data:image/png;base64,HowDoIGoThere", None),
        ("/9j/ is how it begins", None),
        ("JVBERi0", None),
    ],
)
def test_a_file_is_recognised_by_its_beginning(value: str, kind: str | None) -> None:
    assert media_of(value) == kind


def test_an_object_is_read_as_json_without_base64() -> None:
    assert as_text({"a": "ü", "b": [1, {"c": True}]}) == ('{"a": "ü", "b": [1, {"c": true}]}', False)
    assert as_text({"a": BLOB * 2, "b": "the way"}) == ('{"a": "", "b": "the way"}', True)
    deepest: Any = "the way"
    for _ in range(100_000):
        deepest = [deepest]
    assert as_text(deepest) == ("the way", False)
    while isinstance(deepest, list):
        deepest = deepest[0]
