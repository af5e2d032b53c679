"""XML that strangers wrote, as a tree of elements by their local names: no document type, no entities, bounded depth and number.

Every known trick with XML begins with a document type, and that is refused before anything in it is read.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

_DEEPEST, _MOST = 32, 5000


class Refused(ValueError):  # noqa: N818 - what was done with the document
    """The document is none that is read; the text says why, in this program's own words."""


def parse(data: bytes) -> Element:
    """The root of a document. Raises Refused."""
    parser, builder = expat.ParserCreate(namespace_separator=" "), TreeBuilder()
    depth = count = 0

    def start(name: str, _: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > _DEEPEST or count > _MOST:
            raise Refused("its XML has too many elements, or too deep ones")
        builder.start(name.rpartition(" ")[2], {})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name.rpartition(" ")[2])

    def refuse(*_: object) -> None:
        raise Refused("its XML declares a document type or entities")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused("what it answers is no XML") from None
    return builder.close()


def text_of(element: Element, name: str) -> str:
    """The text of the first element of this name below another, without spaces around; "" if there is none."""
    found = next(named(element, name), None)
    return "" if found is None else (found.text or "").strip()


def named(element: Element, name: str) -> Iterator[Element]:
    """Every element of this local name, at any depth."""
    return element.iter(name)
