"""Registers, values and verdicts as nf_tables encodes them (enum nft_registers, nft_data_attributes, nft_verdict_attributes)."""

from librespot_guard.firewall.attributes import Attributes, Malformed
from librespot_guard.firewall.model import VERDICT, Verdict

_NEGATIVE = {-1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"}
_KINDS = {0: "drop", 1: "accept", 3: "queue"}

# every slot that a rule can use: NFT_REG32_00 to NFT_REG32_15
ALL_SLOTS = tuple(range(16))
MOST_BYTES = 64  # NFT_DATA_VALUE_MAXLEN


def register(number: int) -> int:
    """The 4-byte slot at which a register begins, or VERDICT (nft_parse_register of net/netfilter/nf_tables_api.c)."""
    if number == 0:
        return VERDICT
    if 1 <= number <= 4:
        return 4 * (number - 1)
    if 8 <= number <= 23:
        return number - 8
    raise Malformed(f"there is no register {number}")


def length(attributes: Attributes, kind: int, default: int | None = None) -> int:
    """How many bytes an expression moves. The kernel allows no more than its registers hold, so more is damage, and is not allocated."""
    found = attributes.number(kind, default=default)
    if found > MOST_BYTES:
        raise Malformed(f"{found} bytes do not fit into the registers")
    return found


def slots(first: int, length: int) -> tuple[int, ...]:
    """The slots that `length` bytes from slot `first` cover; none for the verdict register."""
    return tuple(range(first, first + (length + 3) // 4)) if first >= 0 else ()


def verdict(attributes: Attributes) -> Verdict:
    """A verdict: its code, and the chain of a jump or goto."""
    code = attributes.number(1)
    signed = code - (1 << 32) if code >> 31 else code
    kind = _NEGATIVE.get(signed) or (_KINDS.get(code & 0xFF) if signed >= 0 else None)
    if kind is None:
        raise Malformed(f"there is no verdict {signed}")
    return Verdict(kind, attributes.text(2) if kind in ("jump", "goto") else None)


def value(attributes: Attributes) -> bytes | Verdict:
    """What NFTA_DATA_VALUE or NFTA_DATA_VERDICT holds."""
    return attributes.data(1) if 1 in attributes else verdict(attributes.nested(2))


def constant(attributes: Attributes) -> bytes:
    """A value that must be bytes."""
    return attributes.data(1)
