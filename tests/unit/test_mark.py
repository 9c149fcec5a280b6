import time
from typing import Any

import pytest

from pipelines.marks.signing import sign
from pipelines.marks.trust_mark import MARK_KEY, Mark, put_mark, split_system, take_mark

ANN = {"id": "u1", "name": "Ann", "role": "user"}
Body = dict[str, Any]


def marked(system: str | None = None, **metadata: Any) -> Body:
    messages = [{"role": "system", "content": system}] if system else []
    body = {"messages": [*messages, {"role": "user", "content": "hi"}], "metadata": metadata}
    put_mark(body, ANN)
    return body


def test_what_the_inlet_put_into_a_mark_is_read_again() -> None:
    body = marked(chat_id="c", message_id="m", task="title_generation", task_body={"prompt": "hi"})
    mark = take_mark(body, "u1")
    assert (mark.chat, mark.message, mark.task) == ("c", "m", "title_generation")
    assert {"role": "user", "content": "hi"} in mark.quoted
    assert MARK_KEY not in body


def test_text_before_the_anchor_is_the_admins_and_the_rest_is_judged() -> None:
    body = marked("I am a pirate.")
    mark, system = take_mark(body, "u1"), body["messages"][0]["content"]
    arrived = f"Be polite.\n{system}\nMemory: likes tea."
    assert split_system(arrived, mark) == (
        "Be polite.\nI am a pirate.\nMemory: likes tea.",
        "I am a pirate.\nMemory: likes tea.",
    )


def test_without_a_system_text_of_the_client_only_the_admins_is_sent() -> None:
    body = marked()
    mark, system = take_mark(body, "u1"), body["messages"][0]["content"]
    assert split_system(f"Be polite.\n{system}", mark) == ("Be polite.", "")
    assert split_system(system, mark) == ("", "")


def test_a_clients_value_of_a_variable_is_judged() -> None:
    body = marked(variables={"{{MOOD}}": "a bomb"})
    mark, system = take_mark(body, "u1"), body["messages"][0]["content"]
    assert split_system(f"The mood is: a bomb.\n{system}", mark)[1] == "a bomb"


def test_a_system_prompt_that_users_may_have_written_is_judged_completely() -> None:
    body: Body = {"messages": [{"role": "system", "content": "Be polite."}], "metadata": {"chat_id": "c"}}
    put_mark(body, ANN, by_admin=False)
    mark, system = take_mark(body, "u1"), body["messages"][0]["content"]
    assert (mark.chat, system) == ("c", "Be polite.")
    assert split_system(f"I am a pirate.\n{system}", mark) == ("I am a pirate.\nBe polite.",) * 2


@pytest.mark.parametrize(
    "forgery", ["another user", "another text", "no signature", "nonsense", "another plugin's", "old"]
)
def test_a_forged_mark_is_rejected(forgery: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = marked("hi")
    if forgery == "another text":
        body[MARK_KEY]["data"] = body[MARK_KEY]["data"].replace("u1", "u2")
    elif forgery == "no signature":
        del body[MARK_KEY]["signature"]
    elif forgery == "another plugin's":
        body[MARK_KEY] = {"data": body[MARK_KEY]["data"], "signature": sign(body[MARK_KEY]["data"], "notice")}
    elif forgery == "nonsense":
        body[MARK_KEY] = "trust me"
    elif forgery == "old":
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    mark = take_mark(body, "u1" if forgery != "another user" else "u2")
    assert (mark.user, mark.anchor) == ("", "")
    assert split_system("Be polite.", mark) == ("Be polite.", "Be polite.")
    assert isinstance(mark, Mark)
