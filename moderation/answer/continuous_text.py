"""One text that arrives in parts of any size. The data of pictures inside it is not part of what the guard reads."""

import re
from bisect import bisect_left

# The header of a data URL in the text, which Markdown and HTML show as a picture, sound or video.
_HEADER = re.compile(r"data:(image|audio|video)/[\w.+-]{1,40}(?:;[\w=.-]{1,40}){0,4};base64,", re.IGNORECASE | re.ASCII)
_HEADER_CHARS = 256
# How every header ends. It is found in a tenth of the time, since its beginning is looked for in one case of letters.
_HEADER_END = re.compile("64,(?<=;(?i:base)64,)")
_HEADER_END_CHARS = 8
_PICTURE_DATA = re.compile(r"[A-Za-z0-9+/=_-]*")
# The beginning of the data is read too: anything shorter may be a word.
_READ_DATA_CHARS = 64


class ContinuousText:
    """The parts of one text, joined. `readable` is for the guard; `take` returns the text as it was sent.

    Args:
        pictures: False to never return the first picture and the text after it from `take`.
    """

    def __init__(self, *, pictures: bool = True) -> None:
        self._pictures = pictures
        self._first_picture: int | None = None
        self._readable: list[str] = []
        self._waiting: list[str] = []
        self._skips: list[int] = []
        self._skipped: list[int] = [0]
        self._tail = ""
        self._data_chars: int | None = None
        self._half = ""
        self.length = 0
        """Characters that arrived."""
        self.taken = 0
        """Characters that were taken."""
        self.readable_length = 0
        self.media: dict[str, None] = {}
        """Kinds of media in the text: image, audio, video."""

    def append(self, part: str) -> None:
        """Add the next part."""
        part, self._half = self._half + part, ""
        if part and "\ud800" <= part[-1] <= "\udbff":
            # A surrogate pair that is split over two parts.
            part, self._half = part[:-1], part[-1]
        part = _without_surrogates(part)
        self._waiting.append(part)
        self.length += len(part)
        while part:
            part = self._read_data(part) if self._data_chars is not None else self._read_words(part)

    @property
    def readable(self) -> str:
        """The text for the guard, of all that arrived."""
        if len(self._readable) > 1:
            self._readable = ["".join(self._readable)]
        return self._readable[0] if self._readable else ""

    @property
    def tail(self) -> str:
        """The last characters of `readable`."""
        return self._tail

    def take(self, readable: int) -> str:
        """The text that was not taken yet, up to the end of the first `readable` readable characters."""
        upto = self.length if readable >= self.readable_length else self._place(readable)
        if self._first_picture is not None and not self._pictures:
            upto = min(upto, self._first_picture)
        waiting = "".join(self._waiting)
        text = waiting[: max(0, upto - self.taken)]
        self._waiting = [waiting[len(text) :]]
        self.taken += len(text)
        return text

    def _place(self, readable: int) -> int:
        return readable + self._skipped[bisect_left(self._skips, readable)]

    def _read_words(self, part: str) -> str:
        """Add text up to where the data of a picture begins. Returns the rest of `part`."""
        if "," not in part or not _HEADER_END.search(self._tail[-_HEADER_END_CHARS:] + part):
            self._add(part)
            return ""
        seen = self._tail + part
        header = _HEADER.search(seen, max(0, len(self._tail) - _HEADER_CHARS))
        while header and header.end() <= len(self._tail):
            header = _HEADER.search(seen, header.end())
        if header is None:
            self._add(part)
            return ""
        self.media[header[1].lower()] = None
        if self._first_picture is None:
            self._first_picture = self.readable_length + header.start() - len(self._tail)
        self._data_chars = 0
        words = header.end() - len(self._tail)
        self._add(part[:words])
        return part[words:]

    def _read_data(self, part: str) -> str:
        """Skip the data of a picture, except its first characters. Returns the rest of `part`."""
        found = _PICTURE_DATA.match(part)
        size = found.end() if found else 0
        known = self._data_chars or 0
        read = max(0, min(size, _READ_DATA_CHARS - known))
        self._add(part[:read])
        if size > read:
            if not self._skips or self._skips[-1] != self.readable_length:
                self._skips.append(self.readable_length)
                self._skipped.append(self._skipped[-1])
            self._skipped[-1] += size - read
        self._data_chars = known + size if size == len(part) else None
        return part[size:]

    def _add(self, words: str) -> None:
        if words:
            self._readable.append(words)
            self.readable_length += len(words)
            self._tail = (self._tail + words[-_HEADER_CHARS:])[-_HEADER_CHARS:]


def _without_surrogates(part: str) -> str:
    try:
        # Quicker than to search for them.
        part.encode()
    except UnicodeEncodeError:
        return part.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return part
