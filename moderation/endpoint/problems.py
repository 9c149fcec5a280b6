"""Explains a server's errors and time-outs to an admin. Nothing here changes the facts about the server."""

import json
import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import openai

from moderation.error_words import error_words
from moderation.errors import EndpointDown, EndpointError, EndpointRefused, TooLong

# Matches messages of vLLM, SGLang, llama.cpp, Ollama, LM Studio, TGI, OpenAI, and proxies that limit a body's size.
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|size|window)|maximum (?:model|input|context)|max_(?:model|input|total)_(?:len|tokens)"
    r"|(?:prompt|input|request|message|entity|payload|body)s?\b[^.]{0,60}? (?:too|longer|larger|exceeds?)\b"
    r"|too (?:long|many (?:input )?tokens)|tokens to keep from the initial prompt",
    re.IGNORECASE,
)
# An option of ours above a server's maximum is no error of length.
_ABOUT_OPTIONS = re.compile(r"logprob|max_tokens|max_completion_tokens", re.IGNORECASE)
# The number after "context length" and the like, but not the excess ("by 300 tokens").
_LIMIT = re.compile(r"(?:context[ _-]?\w+|model|maximum|max)\b[^.]{0,60}?[ (:=](?<!\bby )(\d{3,8})\b", re.IGNORECASE)
# Characters of an error message that are read, and that are shown.
_READ = 2000
_SHOWN = 200


def named(error: openai.OpenAIError, address: str, key: str) -> EndpointError:
    """What an error of the `openai` SDK means for the server at `address`, without the `key` that it may quote."""
    if isinstance(error.__cause__, EndpointError):
        # An error that the transport has converted already; some versions of the SDK wrap it.
        return error.__cause__
    shown = shown_address(address)
    if not isinstance(error, openai.APIStatusError):
        return EndpointDown(f"{shown} cannot be reached ({without_key(root_cause(error), key)[:_SHOWN]})")
    status, said = error.status_code, without_key(words_of(error), key)[:_SHOWN]
    if status // 100 == 3:
        where = redirected(error.response.headers.get("location"), str(error.request.url), shown)
        return EndpointRefused(without_key(where, key))
    if is_too_long(error):
        return TooLong(f"{shown} answered {status}: {said}", told_limit(error))
    kind = EndpointDown if status >= 500 or status in (408, 429) else EndpointRefused
    return kind(f"{shown} answered {status}: {said}")


def words_of(error: openai.APIStatusError) -> str:
    """The message of an error reply, else its body."""
    return " ".join((error_words(error.body) or error.response.text)[:_READ].split())


def is_too_long(error: openai.APIStatusError) -> bool:
    """Whether the server says, with any status, that the conversation does not fit."""
    if error.status_code == 413:
        return True
    if error.status_code < 400 or error.status_code in (401, 403, 404, 408, 429, 502, 503, 504):
        return False
    said = words_of(error)
    return bool(_TOO_LONG.search(said)) and not (_ABOUT_OPTIONS.search(said) and "context" not in said.lower())


def told_limit(error: openai.APIStatusError) -> int | None:
    """Tokens that fit, if the error reply says so."""
    body = error.body.get("error", error.body) if isinstance(error.body, dict) else None
    limit = body.get("n_ctx") if isinstance(body, dict) else None
    if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
        # llama.cpp
        return limit
    found = _LIMIT.search(words_of(error))
    return int(found[1]) if found else None


def redirected(location: str | None, asked: str, address: str) -> str:
    """The error for a redirect, with its target."""
    if not location:
        return f"{address} answered with a redirect that names no address"
    return (
        f"{address} redirects to {shown_address(urljoin(asked, location))}: redirects are not followed, since they "
        "would take key and conversation to another address. Set the guard's address to the one that it names"
    )


def shown_address(url: str) -> str:
    """The address without user, password and query, which may be secret."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "an address that cannot be read"


def root_cause(error: BaseException) -> str:
    """The original error, such as "connection refused", that libraries have wrapped."""
    seen = {id(error)}
    while (cause := error.__cause__ or error.__context__) is not None and id(cause) not in seen:
        seen.add(id(cause))
        error = cause
    return str(error) or type(error).__name__


def without_key(text: str, key: str) -> str:
    """`text` without the guard's key: some servers quote the key that they refuse."""
    for secret in {key, json.dumps(key)[1:-1], repr(key)[1:-1], quote(key, safe="")}:
        if secret and secret != "EMPTY":
            text = text.replace(secret, "***")
    return text
