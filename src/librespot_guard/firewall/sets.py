"""Sets, maps and their elements (enum nft_set_attributes, nft_set_elem_attributes of linux/netfilter/nf_tables.h)."""

from librespot_guard.firewall.attributes import Attributes, Malformed, walk
from librespot_guard.firewall.data import length, value
from librespot_guard.firewall.expressions import stateful
from librespot_guard.firewall.model import Element, Set, Verdict
from librespot_guard.firewall.packed import Gathered

_ELEMENT_INTERVAL_END, _ELEMENT_CATCHALL = 1, 2


def declaration(a: Attributes) -> Set:
    """A set without its elements, from the attributes of NFT_MSG_NEWSET. Raises Malformed."""
    fields: list[int] = []
    if 9 in a:
        description = a.nested(9)
        fields = [Attributes(item, a.byteorder).number(1) for _, item in description.items(2)]
    return Set(
        name=a.text(2),
        flags=a.number(3, default=0),
        key_length=length(a, 5),
        # a set of one field is no concatenation, even if it is declared with its one length
        field_lengths=tuple(fields) if len(fields) > 1 else (),
        data_length=length(a, 7, default=0),
        handle=a.number(16, 8, default=0),
        key_type=a.number(4, default=0),
        object_type=a.number(15, default=0),
    )


# stands for an element that could not be read: any key may hit it
UNREADABLE = Element(b"", catchall=True, conditional=True)


_MOST_SHAPES = 1024


def elements(block: bytes, byteorder: str, into: Gathered) -> str:
    """Read the elements in NFTA_SET_ELEM_LIST_ELEMENTS; what is wrong with the block ("" if nothing is).

    Elements of one set differ mostly in their keys alone: what surrounds the key is understood once.
    """
    fault = ""
    # (key length, everything but the key): whether it is an end, of elements that are a key and nothing else
    shapes: dict[bytes, bool] = {}
    head, size = b"", 0
    try:
        for _, item in walk(block, byteorder):
            start = item[:8]
            if start == head:
                end = shapes.get(item[8 + size :])
                if end is not None:
                    into.plain(item[8 : 8 + size], end=end)
                    continue
            try:
                element = _element(Attributes(item, byteorder))
            except Malformed as error:
                fault = str(error)
                into.add(UNREADABLE)
                continue
            if not _plain(element):
                into.add(element)
                continue
            into.plain(element.key, end=element.interval_end)
            length = len(element.key)
            if item[8 : 8 + length] == element.key and not length % 4 and len(shapes) < _MOST_SHAPES:
                if start != head:
                    shapes.clear()
                head, size = start, length
                shapes[item[8 + length :]] = element.interval_end
    except Malformed as error:
        fault = str(error)
        into.add(UNREADABLE)
    return fault


def _plain(element: Element) -> bool:
    return element == Element(element.key, interval_end=element.interval_end)


def _bytes(a: Attributes, kind: int) -> bytes:
    return a.nested(kind).data(1)


def _element(a: Attributes) -> Element:
    flags = a.number(3, default=0)
    catchall = bool(flags & _ELEMENT_CATCHALL)
    data: bytes | Verdict | None = value(a.nested(2)) if 2 in a else None
    inner = ([a.data(7)] if 7 in a else []) + [item for _, item in a.items(11)]
    return Element(
        key=b"" if catchall else _bytes(a, 1),
        key_end=_bytes(a, 10) if 10 in a else None,
        interval_end=bool(flags & _ELEMENT_INTERVAL_END),
        catchall=catchall,
        data=data,
        timeout=a.number(4, 8) if 4 in a else None,
        expires=a.number(5, 8) if 5 in a else None,
        conditional=any(stateful(e, a.byteorder) for e in inner),
    )
