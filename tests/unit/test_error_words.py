"""The message of an error, in the formats of real servers."""

import time
from typing import Any

import pytest

from moderation.error_words import error_words

WORDS = "The model is too busy."


@pytest.mark.parametrize(
    "reply",
    [
        {"error": {"message": WORDS, "type": "server_error", "param": None, "code": 503}},
        {"object": "error", "message": WORDS, "type": "BadRequestError", "code": 400},
        {"error": WORDS},
        {"detail": WORDS},
        {"detail": [{"loc": ["body", "messages"], "msg": WORDS, "type": "missing"}]},
        {"detail": {"error": {"message": WORDS}}},
        [{"error": {"code": 503, "message": WORDS, "status": "UNAVAILABLE"}}],
        {"error": [{"error": {"message": WORDS}}]},
        {"errors": [WORDS]},
        {"errors": [{"message": WORDS}]},
        {"error": True, "message": WORDS},
        {"error": {"code": 503}, "message": WORDS},
        {"error": {"message": "", "detail": WORDS}},
        {"error": WORDS, "message": "Service unavailable"},
        {"base_resp": {"status_code": 1002, "status_msg": WORDS}, "choices": None},
        {"error_code": 18, "error_msg": WORDS},
        {"fault": {"message": WORDS}},
        WORDS,
    ],
)
def test_the_message_is_found(reply: Any) -> None:
    assert error_words(reply) == WORDS


@pytest.mark.parametrize(
    "reply",
    [
        None,
        {},
        [],
        " \n",
        503,
        {"error": None, "detail": []},
        {"message": {"role": "assistant", "content": "A story."}},
        {"choices": [{"message": {"role": "assistant", "content": "A story."}, "text": "A story."}]},
        {"object": "list", "data": [{"id": "model", "message": "A story."}], "usage": {"total_tokens": 3}},
    ],
)
def test_what_is_no_error_has_none(reply: Any) -> None:
    assert error_words(reply) == ""


def test_a_deep_or_long_reply_costs_no_more_than_reading_it() -> None:
    deep: Any = {"message": WORDS}
    for _ in range(900):
        deep = {"inner": deep, "error": [deep]}
    assert error_words(deep) == ""
    started = time.process_time()
    assert error_words({"error": [{"message": " "}] * 100_000}) == ""
    long = time.process_time() - started
    started = time.process_time()
    assert error_words({"error": [{"message": " "}] * 10_000}) == ""
    assert long < 40 * (time.process_time() - started)
