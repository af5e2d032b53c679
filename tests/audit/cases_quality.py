"""Hosts for the checks of rules against each other."""

from audit.case import SAFE, clean, has
from audit.hosts import ACCEPT, DROP, PORT, filters, table, to, v4, v6

CASES = (
    has("LG404", "a deny behind an accept", "medium", "rule 2", "its packets are taken by", "what it denies was accepted before",
        rules=filters(table((*to("tcp", PORT), ACCEPT), (*v4(), *to("tcp", PORT), DROP)))),
    has("LG404", "an accept twice", "low", "inet filter input rule 2",
        rules=filters(table((*to("tcp", PORT), ACCEPT), (*to("tcp", PORT), ACCEPT)))),
    clean("LG404", "dead for IPv4 only", rules=filters(table((*v4(), ACCEPT), (*v6(), ACCEPT), (*to("tcp", PORT), DROP)))),
    clean("LG404", "an exception first", rules=filters(table((*v4(), *to("tcp", PORT), ACCEPT), (*to("tcp", PORT), DROP), policy="accept"))),
    clean("LG404", "safe", rules=SAFE),
    has("LG405", "what the policy does", "low", "inet filter input rule 1", rules=filters(table((*v4(), *to("tcp", PORT), DROP)))),
    clean("LG405", "what the policy does not", rules=filters(table((*v4(), *to("tcp", PORT), ACCEPT)))),
    has("LG406", "neither is an exception", "low", "decides otherwise than", "rule",
        rules=filters(table((*v4(), ACCEPT), (*to("tcp", PORT), DROP), policy="accept"))),
    clean("LG406", "an exception", rules=filters(table((*v4(), *to("tcp", PORT), ACCEPT), (*to("tcp", PORT), DROP), policy="accept"))),
)  # fmt: skip
