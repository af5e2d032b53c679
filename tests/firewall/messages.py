"""A small writer of nf_tables dumps for either byte order, for what no kernel at hand would say."""

import struct

FAMILIES = {"inet": 1, "ip": 2, "netdev": 5, "ip6": 10}


class Writer:
    """Writes netlink messages in one byte order."""

    def __init__(self, byteorder: str = "little") -> None:
        self.mark = "<" if byteorder == "little" else ">"

    def attribute(self, kind: int, data: bytes | int | str, size: int = 4) -> bytes:
        """One attribute: bytes, a number in network order, or text."""
        payload = (
            data.to_bytes(size, "big")
            if isinstance(data, int)
            else data.encode() + b"\0"
            if isinstance(data, str)
            else data
        )
        return struct.pack(self.mark + "HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)

    def nested(self, kind: int, *parts: bytes) -> bytes:
        """An attribute of attributes, flagged as nested."""
        return self.attribute(kind | 0x8000, b"".join(parts))

    def message(self, kind: int, family: str | int, *parts: bytes) -> bytes:
        """One nf_tables message."""
        number = FAMILIES[family] if isinstance(family, str) else family
        payload = struct.pack("BBH", number, 0, 0) + b"".join(parts)
        return struct.pack(self.mark + "IHHII", 16 + len(payload), 10 << 8 | kind, 2, 1, 0) + payload

    def table(self, family: str, name: str, flags: int = 0) -> bytes:
        """NFT_MSG_NEWTABLE."""
        return self.message(0, family, self.attribute(1, name), self.attribute(2, flags), self.attribute(4, 1, 8))

    def chain(self, family: str, table: str, name: str, hook: bytes = b"", policy: int = 1) -> bytes:
        """NFT_MSG_NEWCHAIN; `hook` is a finished NFTA_CHAIN_HOOK."""
        parts = (self.attribute(1, table), self.attribute(2, 2, 8), self.attribute(3, name))
        base = (hook, self.attribute(5, policy), self.attribute(7, "filter")) if hook else ()
        return self.message(3, family, *parts, *base)

    def hook(self, number: int, priority: int, *devices: bytes) -> bytes:
        """NFTA_CHAIN_HOOK."""
        more = (self.nested(4, *devices),) if devices else ()
        return self.nested(4, self.attribute(1, number), self.attribute(2, priority & 0xFFFFFFFF), *more)

    def rule(self, family: str, table: str, chain: str, handle: int, *expressions: bytes) -> bytes:
        """NFT_MSG_NEWRULE."""
        parts = (self.attribute(1, table), self.attribute(2, chain), self.attribute(3, handle, 8))
        return self.message(6, family, *parts, self.nested(4, *expressions))

    def expression(self, name: str, *parts: bytes) -> bytes:
        """One NFTA_LIST_ELEM of a rule."""
        return self.nested(1, self.attribute(1, name), self.nested(2, *parts))

    def value(self, kind: int, data: bytes) -> bytes:
        """NFTA_DATA_VALUE inside an attribute."""
        return self.nested(kind, self.attribute(1, data))

    def verdict(self, code: int, chain: str | None = None) -> bytes:
        """An immediate expression that gives a verdict."""
        target = (self.attribute(2, chain),) if chain else ()
        data = self.nested(2, self.nested(2, self.attribute(1, code & 0xFFFFFFFF), *target))
        return self.expression("immediate", self.attribute(1, 0), data)


def small(byteorder: str) -> bytes:
    """One table with an input chain that accepts TCP by mark, a jump, and an interval set."""
    w = Writer(byteorder)
    mark = (7).to_bytes(4, "little" if byteorder == "little" else "big")
    return b"".join(
        (
            w.table("inet", "t"),
            w.chain("inet", "t", "input", w.hook(1, -10), policy=0),
            w.chain("inet", "t", "side"),
            w.message(
                9,
                "inet",
                w.attribute(1, "t"),
                w.attribute(2, "s"),
                w.attribute(3, 4),
                w.attribute(4, 7),
                w.attribute(5, 4),
            ),
            w.message(
                12,
                "inet",
                w.attribute(1, "t"),
                w.attribute(2, "s"),
                w.nested(
                    3,
                    w.nested(1, w.value(1, b"\x0a\x00\x00\x00")),
                    w.nested(1, w.attribute(3, 1), w.value(1, b"\x0b\x00\x00\x00")),
                ),
            ),
            w.rule(
                "inet",
                "t",
                "input",
                5,
                w.expression("meta", w.attribute(2, 3), w.attribute(1, 1)),
                w.expression("cmp", w.attribute(1, 1), w.attribute(2, 0), w.value(3, mark)),
                w.verdict(1),
            ),
            w.rule("inet", "t", "input", 6, w.verdict(-3, "side")),
        )
    )
