"""English prose out of docstrings: markup, code and names that give the library away are taken out."""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator

MOST_WORDS = 60
"""A text ends with the sentence that reaches this many words, and never holds more than twice as many."""

LEAST_WORDS = 12
"""Texts with fewer words are left out."""

_LONGEST = 4000  # characters of a docstring that are looked at

LIBRARY = "the library"
"""What every library name becomes."""

CODE = "X"
"""What a piece of code within a sentence becomes."""

# Names of libraries, in every spelling, and of their modules as people import them.
_NAMES = re.compile(
    r"\b\w*(?:torch|numpy|pandas|matplotlib|sqlalchemy|tensorflow|hugging ?face)\w*\b|\btransformers\b|\bsql alchemy\b"
    r"|\b(?:np|pd|plt|mpl|pyplot|pylab|mplot3d|scipy|aten|caffe2|keras|jax|flax|onnx|alembic)\b",
    re.IGNORECASE,
)
_HEADER = re.compile(r"^\s*(?:[-=~^\"#*+`]{3,})\s*$")
_SECTION = re.compile(
    r"^\s*\**(?:args?|arguments?|params?|parameters?|returns?|yields?|raises?|warns?|examples?|usage|notes?|warnings?|"
    r"see also|references?|attributes?|methods?|inputs?|outputs?|shapes?|keyword args?|keyword arguments|"
    r"other parameters|kwargs|todo|deprecated|e\.g|i\.e|for example|example usage)\**\s*:{0,2}\s*$",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"^\s*[\w.*]+\s*\(.*\)\s*(?:->.*)?:?\s*$")
_STOP_LINE = re.compile(
    r"^\s*(?:>>>|\.\.\s|\.\.$|:\w[\w *.,|]*:|@\w+|```|~~~|\$ |\||import [\w.]+(?: as \w+)?$|from [\w.]+ import )"
    r"|^\s*[\w*`]+ ?: "  # name: description
)
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d+[.)]|\[\d+\])\s+")
_ROLE = re.compile(r":[\w:+-]+:\s*`+[^`]*`+|:(?:ref|meth|func|class|attr|mod|data|term|doc|paramref|autograd):")
_LINK = re.compile(r"`[^`<]*<[^`>]*>`_{0,2}|\[[^\]]*\]\([^)]*\)|https?://\S+|\bwww\.\S+")
_TICKS = re.compile(r"`+[^`]*`+_{0,2}|\$[^$]*\$")
_CODE_WORD = re.compile(
    r"(?<![\w])(?:"
    r"[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)+(?:\(\))?"  # dotted.names
    r"|\w+\([^()]*\)"  # calls()
    r"|\w*_\w*"  # snake_case and dunders
    r"|[A-Z]?[a-z]+(?:[A-Z][a-z0-9]*)+\w*"  # camelCase, CamelCase
    r"|[A-Z]{2,}[a-z]\w*"  # SQLThing
    r"|--?\w[\w-]*(?==)"  # --flags=
    r")(?!\w)"
)
_VERSION = re.compile(r"\bv?\d+(?:\.\d+){2,}\w*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_WORD = re.compile(r"[A-Za-z]+(?:['\u2019-][A-Za-z]+)*")
_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")
_COMMON = frozenset(
    _WORD.findall(
        "the a an of to and or in is are be for with on that this it if as by from not which when will can should all "
        "each has have at into its than used using one"
    )
)


def docstrings(source: bytes) -> Iterator[str]:
    """Docstrings of a file's module, classes and functions in the order of the file; none if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=True)
            if text:
                yield text
        # statements only: expressions hold no docstrings, and there are ten times as many of them
        inner = [child for field in _BLOCKS for child in getattr(node, field, ())]
        waiting.extend(reversed(inner))


def prose(docstring: str) -> str | None:
    """The running text at the start of a docstring, on one line, or None if there is too little of it.

    Text ends at the first section header, field list, directive, doctest or code block. Markup, links, code and
    identifiers become `CODE`; names of libraries become `LIBRARY`.
    """
    lines: list[str] = []
    for line in docstring[:_LONGEST].splitlines():
        if _SECTION.match(line) or _STOP_LINE.match(line):
            break
        if _SIGNATURE.match(line):
            if lines:
                break
            continue
        if _HEADER.match(line):  # an underline: the line before it was a title
            if lines:
                lines.pop()
            if lines:
                break
            continue
        if line.startswith((" ", "\t")) and lines and lines[-1].endswith(":"):
            break  # a code block
        if line.strip():
            lines.append(_BULLET.sub("", line).strip())
    text = _plain(" ".join(" ".join(lines).split()))
    kept: list[str] = []
    words = 0
    for sentence in _SENTENCE.split(text):
        count = len(_WORD.findall(sentence))
        if words + count > 2 * MOST_WORDS:
            break
        kept.append(sentence)
        words += count
        if words >= MOST_WORDS:
            break
    text = " ".join(kept).strip().rstrip(":").strip()
    return text if _is_prose(text) else None


def first_sentence_key(text: str) -> str:
    """The first sentence in lower case, letters only: texts that differ less than that count as duplicates."""
    return " ".join(_WORD.findall(_SENTENCE.split(text)[0].lower()))


def without_near_duplicates(texts: Iterable[str], *, share: float = 0.5) -> list[str]:
    """The texts in their order, less those that share too many word triples with an earlier one.

    Args:
        texts: Texts in a fixed order.
        share: Two texts are near duplicates if the triples that both have are at least this share of all their
            triples (the Jaccard index).
    """
    kept: list[str] = []
    triples: list[set[tuple[str, ...]]] = []
    holders: dict[tuple[str, ...], list[int]] = {}
    for text in texts:
        words = _WORD.findall(text.lower())
        mine: set[tuple[str, ...]] = set(zip(words, words[1:], words[2:], strict=False)) or {tuple(words)}
        common = Counter(index for triple in mine for index in holders.get(triple, ()))
        if any(count / (len(mine) + len(triples[index]) - count) >= share for index, count in common.items()):
            continue
        for triple in mine:
            holders.setdefault(triple, []).append(len(kept))
        kept.append(text)
        triples.append(mine)
    return kept


def _plain(text: str) -> str:
    text = _ROLE.sub(f" {CODE} ", text)
    text = _LINK.sub(f" {CODE} ", text)
    text = _TICKS.sub(f" {CODE} ", text)
    text = _NAMES.sub(LIBRARY, text)
    text = re.sub(rf"\b(?:an?|the) (?={LIBRARY}\b)", "", text, flags=re.IGNORECASE)
    text = _VERSION.sub(CODE, _CODE_WORD.sub(CODE, text))
    text = text.replace("*", "").replace("`", "").replace("|", " ").replace("\\", " ")
    text = re.sub(rf"\b{CODE}(?:(?:[\s,./:=()\[\]-]|\band\b|\bor\b)+{CODE}\b)+", CODE, text)
    text = re.sub(r"[\[\](){}<>=~^_#@]+", " ", text)
    text = re.sub(r"::+", ":", text)
    text = re.sub(r"\s+([,.;:!?])", r"\1", text)
    return " ".join(text.split())


def _is_prose(text: str) -> bool:
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < LEAST_WORDS or not text.isascii():
        return False
    letters = sum(len(word) for word in words)
    common = sum(word in _COMMON for word in words)
    placeholders = words.count(CODE.lower())
    return letters / len(text) >= 0.72 and common / len(words) >= 0.15 and placeholders / len(words) <= 0.25
