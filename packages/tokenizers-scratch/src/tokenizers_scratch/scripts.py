r"""Which characters sentencepiece lets stand in one piece: those of one script.

Hiragana, Katakana and the mark U+30FC count as Han; digits, punctuation and symbols are of the script Common, and
combining marks of Inherited, each a script of its own. The classes are those of the installed `regex`; the scripts
below are those in use today and the better known old ones, and the characters of all others count as one.
"""

from __future__ import annotations

from functools import cache

import regex

MARKER = "\u2581"
"""What sentencepiece writes for a space. It begins a piece of any script."""

ANY = 0

_AS_HAN = ("Han", "Hiragana", "Katakana")
# fmt: off
_SCRIPTS = (
    "Common", "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Hangul", "Thai", "Inherited",
    "Adlam", "Ahom", "Armenian", "Avestan", "Balinese", "Bamum", "Batak", "Bengali", "Bhaiksuki", "Bopomofo",
    "Brahmi", "Braille", "Buginese", "Buhid", "Canadian_Aboriginal", "Chakma", "Cham", "Cherokee", "Coptic",
    "Cuneiform", "Deseret", "Egyptian_Hieroglyphs", "Ethiopic", "Georgian", "Glagolitic", "Gothic", "Grantha",
    "Gujarati", "Gurmukhi", "Hanifi_Rohingya", "Hanunoo", "Javanese", "Kannada", "Kayah_Li", "Khmer", "Lao",
    "Lepcha", "Limbu", "Lisu", "Malayalam", "Mandaic", "Meetei_Mayek", "Mongolian", "Myanmar", "New_Tai_Lue",
    "Newa", "Nko", "Nyiakeng_Puachue_Hmong", "Ogham", "Ol_Chiki", "Oriya", "Osage", "Phags_Pa", "Runic",
    "Samaritan", "Saurashtra", "Sinhala", "Sundanese", "Syloti_Nagri", "Syriac", "Tagalog", "Tagbanwa",
    "Tai_Le", "Tai_Tham", "Tai_Viet", "Tamil", "Telugu", "Thaana", "Tibetan", "Tifinagh", "Vai", "Wancho",
    "Yi",
)
# fmt: on
_HAN, _OTHER = 1, 2


@cache
def script_of(character: str) -> int:
    """A number for the script of a character; ANY for the marker."""
    if character == MARKER:
        return ANY
    if character == "\u30fc" or _is_of(character, _AS_HAN):
        return _HAN
    for number, script in enumerate(_SCRIPTS, _OTHER + 1):
        if _is_of(character, (script,)):
            return number
    return _OTHER


def _is_of(character: str, scripts: tuple[str, ...]) -> bool:
    return _class_of(scripts).match(character) is not None


@cache
def _class_of(scripts: tuple[str, ...]) -> regex.Pattern[str]:
    return regex.compile("[" + "".join(rf"\p{{Script={script}}}" for script in scripts) + "]")
