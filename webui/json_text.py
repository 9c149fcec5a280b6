"""Which strings of a JSON value are text that somebody reads, and which are labels, blobs, pictures or sound.

A string is judged by what it is, not by the name of its key: words under a key called `id` are words, and a severity
under any key is none.
"""

import base64
import binascii
import codecs
import json
import re
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from moderation.readings.words import adds_words

# Ids, enums, formats, versions, times: one printable ASCII word.
_LABEL = re.compile(r"[\w.:/+=@#~%-]{1,64}", re.ASCII)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# Two of these in one label make it a sentence that is written without spaces: how_to_make_a_cake.
_FUNCTION_WORDS = frozenset(("a", "and", "do", "for", "how", "i", "in", "is", "it", "my", "of", "the", "to", "you"))
_BLOB = re.compile(r"[A-Za-z0-9+/_=-]{64,}")
_HEX = re.compile(r"[0-9a-fA-F]+")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_=-"
# How files begin in base64: PNG, JPEG, GIF, RIFF (WebP, WAV), BMP; MP3, Ogg, FLAC; MP4; PDF, ZIP.
_MAGIC = {
    **dict.fromkeys(("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk0"), "image"),
    **dict.fromkeys(("SUQz", "T2dnUw", "ZkxhQ"), "audio"),
    **dict.fromkeys(("AAAAIGZ0eX", "AAAAGGZ0eX", "AAAAHGZ0eX"), "video"),
    **dict.fromkeys(("JVBERi0", "UEsDB"), "file"),
}
# Shorter encoded words are names at most.
_SHORTEST_ENCODED = 16
_MAGIC_START = re.compile("|".join(map(re.escape, _MAGIC)))
# A shorter one costs nothing to judge.
_SHORTEST_FILE = 256
_DATA_URL = re.compile(r"data:(?P<kind>[a-z]+)/[\w.+-]+(?P<options>(?:;[\w=.\"-]+)*),", re.IGNORECASE | re.ASCII)
# As _DATA_URL, with its data, amid other text.
_EMBEDDED = re.compile(
    r"data:(?P<kind>image|audio|video|font|application)/[\w.+-]+(?:;[\w=.\"-]+)*;base64,(?P<data>[A-Za-z0-9+/_=-]+)",
    re.IGNORECASE | re.ASCII,
)
_LONG_RUN = re.compile(r"[A-Za-z0-9+/_=-]{256,}")
_RUN = re.compile(r"[^\W_]+")
_LONGEST_REMEMBERED_KEY = 64
# Fewer words say nothing by themselves: a name, a stop word, a title of a setting.
_SENTENCE_WORDS = 3
_REMOTE_URL = re.compile(r"(?:https?|gs|s3|file)://\S+|//\S+", re.IGNORECASE)
# Under these keys even one word is read as text, by a model or on a page.
PROSE_KEYS = frozenset(
    (
        "alt",
        "arguments",
        "caption",
        "code",
        "content",
        "description",
        "documents",
        "explanation",
        "input",
        "instructions",
        "message",
        "name",
        "output",
        "partial_json",
        "prompt",
        "query",
        "quote",
        "reasoning",
        "reasoning_content",
        "refusal",
        "result",
        "revised_prompt",
        "snippet",
        "stderr",
        "stdout",
        "suffix",
        "summary",
        "system",
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
        return len(words & _FUNCTION_WORDS) > 1 or (len(value) >= _SHORTEST_ENCODED and _is_encoded_text(value))
    return not is_blob(value) and media_of(value) is None


def is_blob(value: str) -> bool:
    """Base64 or hexadecimal of at least 64 characters: a signature, encrypted reasoning, a file."""
    if not _BLOB.fullmatch(value):
        return False
    kinds = (str.isupper, str.islower, str.isdigit)
    encoded = bool(_HEX.fullmatch(value)) or all(any(map(kind, value[:1024])) for kind in kinds)
    return encoded and not _is_encoded_text(value)


def media_of(value: str) -> str | None:
    """`image`, `audio`, `video` or `file` if all of `value` is such, as a `data:` URL or in base64; else None."""
    found = _DATA_URL.match(value)
    if found is None:
        start = _MAGIC_START.match(value)
        return _MAGIC[start[0]] if start and len(value) >= _SHORTEST_FILE and _is_base64(value) else None
    data = value[found.end() :]
    if not found["options"].lower().endswith(";base64") or not _is_base64(data) or _is_words(data):
        # What is not encoded, as an SVG may be, is words; so is text that only says that it is a picture.
        return None
    return _MEDIA_KINDS.get(found["kind"].lower())


def without_media(text: str) -> tuple[str, list[str]]:
    """`text` without the pictures, sounds and files that it holds as `data:` URLs, and their kinds, each once."""
    if ";" not in text or ";base64," not in text.lower():
        return text, []
    kinds: list[str] = []

    def take(found: re.Match[str]) -> str:
        if _is_words(found["data"]):
            return found[0]
        _add_once(kinds, _MEDIA_KINDS[found["kind"].lower()])
        return ""

    return _EMBEDDED.sub(take, text), kinds


def as_text(value: Any) -> tuple[str, bool]:
    """An object as a model reads it: JSON, without base64; and whether any was left out."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        # As deep as a client likes.
        text = "\n".join(find(value, prose=True).texts)
    shown, kinds = without_media(text)
    clean = _LONG_RUN.sub(lambda found: "" if is_blob(found[0]) else found[0], shown)
    return clean, bool(kinds) or clean != shown


def is_sentence(value: str) -> bool:
    """Whether `value` is text of at least three words, so that it can say something by itself."""
    if not is_text(value):
        return False
    words = 0
    for run in _RUN.finditer(value):
        words += _words_in(run[0])
        if words >= _SENTENCE_WORDS:
            return True
    # Written without spaces.
    return " " not in value and len(_WORD.findall(value[:1024])) >= _SENTENCE_WORDS


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
                if _is_text_key(inner):
                    waiting.append(("text", inner, False))
    return found


@lru_cache(2048)
def _is_short_text(key: str) -> bool:
    return is_text(key)


def _is_text_key(key: str) -> bool:
    return _is_short_text(key) if len(key) <= _LONGEST_REMEMBERED_KEY else is_text(key)


def _add_string(found: Found, value: str, prose: bool, in_media: bool) -> None:
    if kind := media_of(value):
        if not in_media:
            _add_once(found.media, kind)
        return
    value, kinds = without_media(value)
    for kind in kinds:
        _add_once(found.media, kind)
    if (words := _words_in_data_url(value)) is not None:
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
    if not head["options"].lower().endswith(";base64") or _is_written(data):
        return data
    try:
        return base64.b64decode(data, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return value


def _is_base64(data: str) -> bool:
    return (unquote(data) if "%" in data else data).encode("utf-8", "replace").translate(None, _BASE64) == b""


def _is_written(data: str) -> bool:
    """Whether there are words where base64 is expected, which has digits if it is long."""
    if len(data) <= 64:
        # No picture is so short, and few codes of files are letters only.
        return not _is_encoded_text(data) and (is_text(data) or (data.isalpha() and not data.isupper()))
    start = data[:1024]
    return any(map(str.islower, start)) and not any(map(str.isdigit, start))


def _is_encoded_text(data: str) -> bool:
    """Whether base64 or hexadecimal digits are words, which a chat model can read. No file begins so."""
    start = data[:1024].replace("-", "+").replace("_", "/").rstrip("=")
    try:
        found = (
            bytes.fromhex(start)
            if _HEX.fullmatch(start)
            else base64.b64decode(start[: len(start) // 4 * 4], validate=True)
        )
        # The last character may be cut.
        return adds_words(codecs.getincrementaldecoder("utf-8")().decode(found))
    except ValueError:
        return False


def _is_words(data: str) -> bool:
    return _is_written(data) or _is_encoded_text(data)


def _words_in(run: str) -> int:
    """How many words letters without a gap are: Chinese, Japanese and Thai do not part theirs."""
    parted = run.isascii() or (len(run) <= 16 and max(run) < "\u2e80")
    return 1 if parted else (len(run) + 1) // 2


def _add_once(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)
