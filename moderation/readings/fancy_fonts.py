"""Words in "fonts" of letters from anywhere, as generators of fancy text make them: drawn, upside down, in Braille."""

import re
import unicodedata
from string import ascii_lowercase

from moderation.readings.unicode_tables import MARK_CHARS
from moderation.readings.words import known_words

# The alphabet from a to z in each font.
_FONTS = (
    "卂乃匚ᗪ乇千Ꮆ卄丨ﾌҜㄥ爪几ㄖ卩Ɋ尺丂ㄒㄩᐯ山乂ㄚ乙",
    "ﾑ乃ᄃり乇ｷムんﾉﾌズﾚﾶ刀口ｱゐ尺丂ｲひ√Wﾒﾘ乙",
    "ค๒ς๔єŦﻮђเןкl๓ภ๏קợгรtยשฬץאz",
    "ąცƈɖɛʄɠɧıʝƙƖɱŋơ℘զཞʂɬų۷ῳҳყʑ",
    "ǟɮƈɖɛʄɢɦɨʝӄʟʍռօքզʀֆȶʊʋաӼʏʐ",
    "ᏗᏰፈᎴᏋᎦᎶᏂᎥᏠᏦᏝᎷᏁᎧᎮᎤᏒᏕᏖᏬᏉᏇጀᎩፚ",
    "ᗩᗷᑕᗪEᖴGᕼIᒍKᒪᗰᑎOᑭᑫᖇᔕTᑌᐯᗯ᙭Yᘔ",
    "₳฿₵ĐɆ₣₲ⱧłJ₭Ⱡ₥₦Ø₱QⱤ₴₮ɄV₩ӾɎⱫ",
    "αв¢∂єƒgнιנкℓмησρqяѕтυνωχуz",
    "ÄßÇÐÈ£GHÌJKLMñÖþQR§†ÚVW×¥Z",
    "ꍏꌃꉓꀸꍟꎇꁅꃅꀤꀭꀘ꒒ꂵꈤꂦꉣꆰꋪꌗ꓄ꀎꃴꅏꊼꌩꁴ",
    "Λ₿ᄃDΣFGΉIJKᄂMПӨPQЯƧTЦVЩXYZ",
    "♬♭☾◗€Ϝ❡♄♗♪ϰ↳♏♫◎ρQ☈ⓢ☂☋✓ω⌘☿☡",
    "🅰🅱☪dⅇfg♓ℹjk🕒Ⓜ♑⭕🅿q®💲✝⛎✅〰❌yz",
    "ⲁⲃⲥⲇⲉϥⲅⲏⲓϳⲕⳑⲙⲛⲟⲣϙⲅⲋⲧⲩⲗⲱⲭⲯⲍ",
    "𐐰𐐺𐐿𐐼𐐯𐑁𐑀𐐸𐐨𐐾𐐿𐑊𐑋𐑌𐐬𐐹q𐑉𐑅𐐻𐐭𐑂𐐶x𐐷𐑆",
    "ᴀᏼᴄꭰꭼꮈᏽꮋꭵꭻꮶꮮꮇɴꭴꮲqꭱꮪꭲᴜꮩꮃxꭹꮓ",
)


def _letters_of_font(font: str) -> dict[int, str]:
    pairs = list(zip(font, ascii_lowercase, strict=True))
    # The texts that are read have Unicode's form NFKC, in which some of these characters are others.
    normal = [(unicodedata.normalize("NFKC", char), letter) for char, letter in pairs]
    return {ord(char): letter for char, letter in reversed([*pairs, *normal]) if len(char) == 1}


_LETTERS_OF_FONTS = [_letters_of_font(font) for font in _FONTS]
# For words in several fonts.
_LETTERS_OF_FONTS.append(
    {code: letter for font in reversed(_LETTERS_OF_FONTS) for code, letter in font.items()}
    | {ord(char): letter for char, letter in zip("口ᝪᗞᗴ工长门ßþ", "oodeikmbp", strict=True)}
)
_FANCY_CHARS = "".join(
    sorted(
        {
            re.escape(chr(code))
            for font in _LETTERS_OF_FONTS
            for code in font
            if code > 0x7F and code not in (0xD7, 0xAE)
        }
    )
)
# Letters that no living language with the Latin script has; and no German word begins with this one.
_STRANGE = re.compile("^ß|[£¥§†×®]|[^\x00-\u017f\u01a0\u01a1\u01af\u01b0\u0218-\u021b\u1ea0-\u1ef9]")
_STYLES = re.compile("[\ufe0e\ufe0f]")
_FANCY_WORD = re.compile(
    rf"(?<![\w{MARK_CHARS}])[A-Za-z\ufe0e\ufe0f\u00d7\u00ae{_FANCY_CHARS}]{{3,60}}(?![\w{MARK_CHARS}])"
)

_TURNED = dict(zip("ɐqɔpǝɟƃɥᴉɾʞlɯuodbɹsʇnʌʍxʎz∀ƎℲ⅁⊥Λ⅂", "abcdefghijklmnopqrstuvwxyzaefgtvl", strict=True)) | {
    "¿": "?", "¡": "!", "'": ",", "˙": ".", "ı": "i", "!": "i", "I": "i", "H": "h", "O": "o", "S": "s", "N": "n",
    "M": "w", "W": "m", "X": "x", "Z": "z",
}  # fmt: skip
_TURNED_LETTERS = str.maketrans(_TURNED)
_TURNED_RUN = re.compile("[A-Za-zɐɔǝɟƃɥᴉɾʞɯɹʇʌʍʎ∀ƎℲ⅁⊥Λ⅂ı¿¡'˙!,.? ]+")
_TURNED_WORD = re.compile("[A-Za-zɐɔǝɟƃɥᴉɾʞɯɹʇʌʍʎ∀ƎℲ⅁⊥Λ⅂ı]+")
_SURELY_TURNED = re.compile("[ɐɔǝɟƃɥᴉɾʞɯɹʇʌʍʎ]")

_BRAILLE = str.maketrans("⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵", ascii_lowercase)
_BRAILLE_WORD = re.compile("[\u2801-\u28ff]{3,40}")


def plain_fonts(text: str) -> str:
    """`text` with words in fonts of other letters in plain letters, if they are known words."""
    if text.isascii():
        return text
    text = _BRAILLE_WORD.sub(lambda word: _known(word[0].translate(_BRAILLE)) or word[0], text)
    text = _FANCY_WORD.sub(lambda word: _plain_word(word[0]), text)
    return _TURNED_RUN.sub(_turned, text) if _SURELY_TURNED.search(text) else text


def _known(word: str) -> str | None:
    return word if len(word) > 2 and word.lower() in known_words() else None


def _plain_word(found: str) -> str:
    if not _STRANGE.search(found):
        return found
    word = _STYLES.sub("", found)
    return next((plain for font in _LETTERS_OF_FONTS if (plain := _known(word.translate(font).lower()))), found)


def _turned(found: re.Match[str]) -> str:
    """Text that is written upside down, from its end to its start; else with each word that is."""
    if not _SURELY_TURNED.search(found[0]):
        return found[0]
    text = found[0][::-1].translate(_TURNED_LETTERS)
    words = re.findall("[a-z]+", text)
    known = [word for word in words if word in known_words()]
    if 2 * sum(map(len, known)) > sum(map(len, words)) and any(len(word) > 3 for word in known):
        return text
    return _TURNED_WORD.sub(lambda word: _turned_word(word[0]), found[0])


def _turned_word(word: str) -> str:
    return _known(word[::-1].translate(_TURNED_LETTERS)) or word if _SURELY_TURNED.search(word) else word
