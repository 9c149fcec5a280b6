"""Which strings of a JSON value are text that somebody reads, and which are labels, blobs, pictures or sound.

A string is judged by what it is, not by the name of its key: words under a key called `id` are words, and a severity
under any key is none.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

# Ids, enums, formats, versions, times: one printable ASCII word.
_LABEL = re.compile(r"[\w.:/+=@#~%-]{1,64}", re.ASCII)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# Two of these in one label make it a sentence that is written without spaces: how_to_make_a_cake.
_FUNCTION_WORDS = frozenset(("a", "and", "do", "for", "how", "i", "in", "is", "it", "my", "of", "the", "to", "you"))
_BLOB = re.compile(r"[A-Za-z0-9+/_=-]{64,}")
_HEX = re.compile(r"[0-9a-fA-F]+")
_DATA = re.compile(r"(?:[A-Za-z0-9+/=_-]|%[0-9A-Fa-f]{2})*")
_DATA_URL = re.compile(r"data:(?P<kind>[a-z]+)/[\w.+-]+(?P<options>(?:;[\w=.\"-]+)*),", re.IGNORECASE | re.ASCII)
_REMOTE_URL = re.compile(r"(?:https?|gs|s3|file)://\S+|//\S+", re.IGNORECASE)
# Under these keys even one word is read as text, by a model or on a page.
PROSE_KEYS = frozenset(
    (
        "alt",
        "arguments",
        "caption",
        "content",
        "description",
        "explanation",
        "input",
        "instructions",
        "message",
        "name",
        "partial_json",
        "query",
        "quote",
        "reasoning",
        "reasoning_content",
        "refusal",
        "revised_prompt",
        "snippet",
        "summary",
        "text",
        "thinking",
        "title",
        "transcript",
    )
)
# Content parts whose address or data is a picture, a sound, a film or a file (OpenAI, vLLM, Anthropic, Gemini).
MEDIA_PARTS = frozenset(
    (
        "image_url",
        "input_image",
        "image",
        "image_embeds",
        "input_audio",
        "audio",
        "audio_url",
        "audio_embeds",
        "video",
        "video_url",
        "file",
        "input_file",
        "document_url",
        "inline_data",
        "media",
        "output_image",
        "output_audio",
        "image_pil",
    )
)
_MEDIA_KINDS = {"image": "image", "audio": "audio", "video": "video", "application": "file", "font": "file"}


class Found(NamedTuple):
    """What a value holds."""

    texts: list[str]
    """In order, keys of objects included."""
    media: list[str]
    """The kinds of what nobody can judge as text, each once: the part's own type, or image, audio, video, file."""


def is_text(value: str) -> bool:
    """Whether `value` is words, and no label, number, hash, signature or picture."""
    if not value.strip():
        return False
    if _LABEL.fullmatch(value) and "://" not in value:
        words = {word.lower() for word in _WORD.findall(value)}
        return len(words & _FUNCTION_WORDS) > 1
    return not is_blob(value) and media_of(value) is None


def is_blob(value: str) -> bool:
    """Base64 or hexadecimal of at least 64 characters: a signature, encrypted reasoning, a file."""
    if not _BLOB.fullmatch(value):
        return False
    kinds = (str.isupper, str.islower, str.isdigit)
    return bool(_HEX.fullmatch(value)) or all(any(map(kind, value[:1024])) for kind in kinds)


def media_of(value: str) -> str | None:
    """`image`, `audio`, `video` or `file` if all of `value` is such a thing as a `data:` URL; else None."""
    found = _DATA_URL.match(value)
    if found is None or not found["options"].lower().endswith(";base64"):
        # What is not encoded, as an SVG may be, is words.
        return None
    return _MEDIA_KINDS.get(found["kind"].lower()) if _DATA.fullmatch(value, found.end()) else None


def find(value: Any, key: str = "", *, prose: bool = False) -> Found:
    """All texts and media in a value of any shape and depth.

    Args:
        value: what JSON can hold.
        key: its key in the object that holds it.
        prose: whether every string in it is text, whatever it looks like.
    """
    found = Found([], [])
    # No recursion: a client chooses how deep its value is.
    waiting: list[tuple[str, Any, bool]] = [(key, value, False)]
    while waiting:
        name, item, in_media = waiting.pop()
        if isinstance(item, str):
            _add_string(found, item, prose or name in PROSE_KEYS, in_media)
        elif isinstance(item, list):
            waiting += [(name, each, in_media) for each in reversed(item)]
        elif isinstance(item, dict):
            kind = item.get("type")
            is_media = isinstance(kind, str) and kind in MEDIA_PARTS
            if is_media:
                _add_once(found.media, str(kind))
            for inner, each in reversed(item.items()):
                waiting.append((inner, each, in_media or is_media))
                if is_text(inner):
                    waiting.append(("text", inner, False))
    return found


def texts_in(value: Any, key: str = "", *, prose: bool = False) -> Iterator[str]:
    """The texts that `find` finds."""
    return iter(find(value, key, prose=prose).texts)


def _add_string(found: Found, value: str, prose: bool, in_media: bool) -> None:
    if kind := media_of(value):
        if not in_media:
            _add_once(found.media, kind)
    elif (words := _words_in_data_url(value)) is not None:
        found.texts.extend(filter(None, [words]))
    elif in_media and (_REMOTE_URL.fullmatch(value) or is_blob(value)):
        # The part that it belongs to is named already.
        return
    elif value.strip() if prose else is_text(value):
        found.texts.append(value)


def _words_in_data_url(value: str) -> str | None:
    """What a `data:` URL of text says; None for anything else."""
    head = _DATA_URL.match(value)
    if head is None:
        return None
    data = unquote(value[head.end() :])
    if not head["options"].lower().endswith(";base64"):
        return data
    try:
        return base64.b64decode(data, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return value


def _add_once(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)
