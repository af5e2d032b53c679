"""The facts about packet filters, as they were read: what they mean is the business of `firewall`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuleText:
    """How `nft` prints one rule, for people: found by family, table, chain and handle."""

    family: str
    table: str
    chain: str
    handle: int
    text: str


@dataclass(frozen=True, slots=True)
class NftDump:
    """The nf_tables ruleset as the kernel gave it over nfnetlink.

    `data` is the concatenation of whole netlink messages (header included) of NEWTABLE, NEWCHAIN, NEWSET, NEWSETELEM
    (with its table and set), NEWRULE, NEWOBJ and NEWFLOWTABLE; `generation` is NFTA_GEN_ID, equal before and after
    reading. `firewall.decode` reads it. `text` is only for people.
    """

    generation: int
    data: bytes
    text: tuple[RuleText, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterText:
    """What a tool printed about the packet filter, kept as it was: the facts of a host that could not be read itself.

    `kind` is "nft-json", "iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save" or "ipset-save";
    `source` is what the text is called in messages. `firewall.read_listings` reads it.
    """

    kind: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class LegacyTable:
    """A table of legacy iptables as the kernel gave it; `firewall.legacy_tables` reads it.

    `family` is "ipv4" or "ipv6"; `info` is struct ipt_getinfo, `entries` the struct ipt_entry or ip6t_entry of the table.
    """

    family: str
    name: str
    info: bytes
    entries: bytes


@dataclass(frozen=True, slots=True)
class OtherFilter:
    """A packet filter that is on the path but is not in the nf_tables dump, such as legacy iptables, XDP, tc or IPVS.

    The analysis names it and does not say "exact" where it may matter. `where` is an interface or a table.
    """

    kind: str
    where: str
    detail: str = ""
