"""Sets, maps and their elements (enum nft_set_attributes, nft_set_elem_attributes of linux/netfilter/nf_tables.h)."""

from librespot_guard.firewall.attributes import Attributes, Malformed, walk
from librespot_guard.firewall.data import length, value
from librespot_guard.firewall.expressions import stateful
from librespot_guard.firewall.model import Element, Set, Verdict

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


def elements(block: bytes, byteorder: str) -> tuple[list[Element], str]:
    """The elements in NFTA_SET_ELEM_LIST_ELEMENTS, and what is wrong with the block ("" if nothing is)."""
    out: list[Element] = []
    fault = ""
    try:
        for _, item in walk(block, byteorder):
            try:
                out.append(_element(Attributes(item, byteorder)))
            except Malformed as error:
                fault = str(error)
                out.append(UNREADABLE)
    except Malformed as error:
        fault = str(error)
        out.append(UNREADABLE)
    return out, fault


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
