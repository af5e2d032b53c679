"""What each expression does to the registers and the packet (net/netfilter/nft_*.c): `execute`.

A failed load breaks the rule off, even under `!=`. Unknown bits travel through registers until a comparison needs them.
"""

from collections.abc import Callable

from librespot_guard import firewall as fw
from librespot_guard.reach import _concrete_loads as loads
from librespot_guard.reach import _concrete_nat as nat
from librespot_guard.reach._concrete_beyond import EXECUTE as BEYOND
from librespot_guard.reach._concrete_flow import Flow
from librespot_guard.reach._concrete_loads import BREAK, MAYBE
from librespot_guard.reach._concrete_rules import ACCEPT, DROP, REJECT, Result, Runner
from librespot_guard.reach._concrete_sets import Hit
from librespot_guard.reach._concrete_values import Undecidable, Value, between, ends, equal, is_sure, masked, unsure
from librespot_guard.reach._concrete_xt import MATCHES


def _payload(run: Runner, expr: fw.Payload) -> Result:
    flow = run.flow
    header, offset = (
        {"link": flow.link, "network": flow.network, "transport": flow.transport}.get(expr.base),
        expr.offset,
    )
    if expr.base == "network" and expr.offset + expr.length > len(flow.network.data):
        header, offset = flow.transport, expr.offset - len(flow.network.data)
        if offset < 0:
            value = _across(flow, expr.offset, expr.length)
            return run.load(expr.dreg, BREAK if value is None else value, "")
    if expr.base == "inner":
        # the packet carries no data; ICMP has no inner header at all
        return BREAK
    if header is None:
        # tunnels have no link-layer header, other kinds of links have one that is not known here
        return run.load(
            expr.dreg,
            BREAK if expr.base == "link" and flow.iif.arp_type == 65534 else MAYBE,
            "the link-layer header is not known",
        )
    value = header.read(offset, expr.length)
    if value is None and expr.base == "link":
        return run.load(expr.dreg, MAYBE, "it reads beyond the link-layer header")
    return run.load(expr.dreg, BREAK if value is None else value, "")


def _across(flow: Flow, offset: int, length: int) -> Value | None:
    """Bytes that begin in the network header and end behind it."""
    data = bytes(flow.network.data + flow.transport.data)[offset : offset + length]
    known = bytes(flow.network.known + flow.transport.known)[offset : offset + length]
    return (data, known) if len(data) == length else None


def _payload_set(run: Runner, expr: fw.PayloadSet) -> Result:
    flow = run.flow
    value = run.registers.read(expr.sreg, expr.length)
    header = {"link": flow.link, "network": flow.network, "transport": flow.transport}.get(expr.base)
    if header is None:
        return BREAK if expr.base == "inner" else run.either("the link-layer header is not known")
    return None if header.write(expr.offset, value) else BREAK


def _meta(run: Runner, expr: fw.Meta) -> Result:
    why = f"what `meta {expr.key}` is can't be told from the packet"
    return run.load(expr.dreg, loads.meta(run.library.world, run.flow, run.place, expr.key), why)


def _meta_set(run: Runner, expr: fw.MetaSet) -> Result:
    flow = run.flow
    match expr.key:
        case "mark":
            flow.mark = run.registers.read(expr.sreg, 4)
        case "priority":
            flow.priority = run.registers.read(expr.sreg, 4)
        case "pkttype":
            wanted = run.registers.read(expr.sreg, 1)
            # skb_pkt_type_ok: only host, broadcast, multicast and otherhost can be exchanged
            if between(wanted, b"\0", b"\3") is not False:
                flow.pkttype = wanted if is_sure(wanted) else unsure(1)
    return None


def _ct(run: Runner, expr: fw.Ct) -> Result:
    why = f"what `ct {expr.key}` is can't be told from the packet"
    return run.load(expr.dreg, loads.conntrack(run.library.world, run.flow, expr), why)


def _ct_set(run: Runner, expr: fw.CtSet) -> Result:
    connection = run.flow.connection
    if expr.key == "zone":
        # what is tracked, or has a template, is left as it is
        if connection is not None or run.flow.template:
            return None
        if not run.flow.tracked_here:
            # a template for the connection to be (nft_ct_set_zone_eval)
            run.flow.zone, run.flow.untracked = run.registers.read(expr.sreg, 2), False
        elif connection is None:
            # the template makes address translation look at a packet that has no connection
            raise Undecidable(run.reason("a zone is given to a packet that could not be tracked"))
    elif connection is not None and expr.key == "mark":
        connection.mark = run.registers.read(expr.sreg, 4)
    elif connection is not None and expr.key == "labels":
        connection.labels = run.registers.read(expr.sreg, 16)
    return None


def _fib(run: Runner, expr: fw.Fib) -> Result:
    return run.load(expr.dreg, loads.routes(run.library.world, run.flow, run.place, expr), "")


_OPEN = "it depends on what the packet of this question leaves open"


def _cmp(run: Runner, expr: fw.Cmp) -> Result:
    value = run.registers.read(expr.sreg, len(expr.data))
    answer: bool | None
    if expr.op in ("eq", "neq"):
        same = equal(value, expr.data)
        answer = same if same is None or expr.op == "eq" else not same
    else:
        low, high = ends(value)
        data = expr.data
        always, never = {
            "lt": (high < data, low >= data),
            "lte": (high <= data, low > data),
            "gt": (low > data, high <= data),
            "gte": (low >= data, high < data),
        }[expr.op]
        answer = True if always else False if never else None
    return run.decide(answer, run.asked or _OPEN)


def _range(run: Runner, expr: fw.Range) -> Result:
    inside = between(run.registers.read(expr.sreg, len(expr.low)), expr.low, expr.high)
    return run.decide(inside if inside is None or expr.op == "eq" else not inside, run.asked or _OPEN)


def _bitwise(run: Runner, expr: fw.Bitwise) -> Result:
    value = run.registers.read(expr.sreg, expr.length)
    if expr.op == "mask-xor":
        run.registers.write(expr.dreg, masked(value, expr.mask, expr.xor))
    elif expr.op in ("lshift", "rshift"):
        order = run.library.world.ruleset.byteorder
        run.registers.write(expr.dreg, (_shift(value[0], expr, order), _shift(value[1], expr, order, fill=True)))
    else:
        other = (
            (expr.mask, b"\xff" * len(expr.mask)) if expr.sreg2 is None else run.registers.read(expr.sreg2, expr.length)
        )
        run.registers.write(expr.dreg, _combine(expr.op, value, other))
    return None


def _shift(data: bytes, expr: fw.Bitwise, order: str, *, fill: bool = False) -> bytes:
    """Shift as nft_bitwise does: words in host order, the first word the most significant. `fill`: what comes in is certain."""
    size = -len(data) % 4
    padded = data + (b"\xff" if fill else b"\0") * size
    words = [padded[i : i + 4] for i in range(0, len(padded), 4)]
    number = int.from_bytes(b"".join(w[::-1] if order == "little" else w for w in words), "big")
    bits = 8 * len(padded)
    ones = (1 << expr.shift) - 1 if fill else 0
    number = (
        (number << expr.shift | ones) & (1 << bits) - 1
        if expr.op == "lshift"
        else number >> expr.shift | ones << max(bits - expr.shift, 0)
    )
    out = number.to_bytes(len(padded), "big")
    return b"".join(out[i : i + 4][::-1] if order == "little" else out[i : i + 4] for i in range(0, len(out), 4))


def _combine(op: str, one: Value, other: Value) -> Value:
    """and, or, xor of two values; a zero (one) decides an `and` (`or`) whatever the other bit is."""
    data, known = bytearray(), bytearray()
    for a, ka, b, kb in zip(one[0], one[1], other[0], other[1], strict=True):
        both = ka & kb
        if op == "and":
            data.append(a & b)
            known.append(both | (ka & ~a & 0xFF) | (kb & ~b & 0xFF))
        elif op == "or":
            data.append(a & ka | b & kb)
            known.append(both | (ka & a) | (kb & b))
        else:
            data.append(a ^ b)
            known.append(both)
    return bytes(d & k for d, k in zip(data, known, strict=True)), bytes(known)


def _byteorder(run: Runner, expr: fw.Byteorder) -> Result:
    if run.library.world.ruleset.byteorder == "big":
        run.registers.write(expr.dreg, run.registers.read(expr.sreg, expr.length), pad=False)
        return None
    data, known = run.registers.read(expr.sreg, expr.length)
    units = range(0, expr.length, expr.size)
    swapped = tuple(b"".join(part[i : i + expr.size][::-1] for i in units) for part in (data, known))
    run.registers.write(expr.dreg, (swapped[0], swapped[1]), pad=False)
    return None


def _lookup(run: Runner, expr: fw.Lookup) -> Result:
    index = run.library.index(run.table, expr.set_name)
    outcomes = index.find(run.registers.read(expr.sreg, index.set.key_length))
    why = run.asked or f"whether it is in set {expr.set_name} can't be told from the packet"
    if _identity(run, expr.set_name) in run.flow.changed_sets:
        outcomes = [Hit(None), Hit(fw.Element(b"")), *(Hit(e) for e in index.set.elements)]
        why = f"an earlier rule changed set {expr.set_name} for this packet"
    picked = _pick(run, expr, outcomes, why)
    element = picked.element
    if expr.inverted and element is not None and not picked.certain and element.expires is not None:
        return run.either(f"an element of set {expr.set_name} expires")
    if (element is None) != expr.inverted:
        return BREAK
    if element is None:
        return None
    if expr.dreg == fw.VERDICT:
        return _condition(run, picked, expr) or _verdict(run, element.data)
    if expr.dreg is not None:
        data = element.data
        run.registers.write(
            expr.dreg, (data, b"\xff" * len(data)) if isinstance(data, bytes) else unsure(index.set.data_length)
        )
    return _condition(run, picked, expr)


def _identity(run: Runner, name: str) -> tuple[str, str, str]:
    """Which set a name means: one of the table, or an ipset, of which every table has a copy."""
    return ("", "", name) if name.startswith(fw.IPSET) else (run.table.family, run.table.name, name)


def _pick(run: Runner, expr: fw.Lookup, outcomes: list[Hit], why: str) -> Hit:
    """One of the possible outcomes of a look-up; of those that lead to the same, one stands for all."""
    if expr.dreg is None:
        outcomes = [
            *[h for h in outcomes if h.element is not None][:1],
            *[h for h in outcomes if h.element is None][:1],
        ]
    if len(outcomes) == 1 or run.indifferent():
        return outcomes[0]
    return outcomes[run.choices.choose(len(outcomes), run.reason(why))]


def _condition(run: Runner, hit: Hit, expr: fw.Lookup) -> Result:
    """A limit, quota or the like in the element decides, after its data was copied (nft_set_elem_update_expr)."""
    return (
        None if hit.certain else run.either(f"an element of set {expr.set_name} holds a condition on earlier packets")
    )


def _verdict(run: Runner, data: bytes | fw.Verdict | None) -> Result:
    if not isinstance(data, fw.Verdict):
        raise Undecidable(run.reason("the verdict that it looks up could not be read"))
    if data.kind == "continue":
        return None
    if data.kind == "break":
        return BREAK
    if data.kind == "queue":
        raise Undecidable(run.reason("a program in user space decides (queue)"))
    return data


def _immediate(run: Runner, expr: fw.Immediate) -> Result:
    if isinstance(expr.data, bytes):
        run.registers.write(expr.dreg, (expr.data, b"\xff" * len(expr.data)))
        return None
    return _verdict(run, expr.data)


def _limit(run: Runner, _expr: fw.Limit) -> Result:
    return run.either("a rate limit depends on earlier packets")


def _reject(_run: Runner, _expr: fw.Reject) -> Result:
    return REJECT


def _nat(run: Runner, expr: fw.Nat) -> Result:
    if nat.for_other_family(run.flow, expr):
        return None
    nat.translate(run.flow, expr.kind, nat.span(run.flow, expr, run.registers))
    run.translated = True
    return ACCEPT


def _redirect(run: Runner, expr: fw.Redirect) -> Result:
    run.translated = nat.redirect(run.library.world, run.flow, nat.span(run.flow, expr, run.registers))
    return ACCEPT if run.translated else DROP


def _masquerade(run: Runner, _expr: fw.Masquerade) -> Result:
    nat.masquerade(run.flow)
    run.translated = True
    return ACCEPT


def _notrack(run: Runner, _expr: fw.Notrack) -> Result:
    if run.flow.connection is None and not run.flow.template:
        run.flow.untracked = True
    return None


def _pass(_run: Runner, _expr: fw.Pass) -> Result:
    return None


def _dynset(run: Runner, expr: fw.Dynset) -> Result:
    run.flow.changed_sets.add(_identity(run, expr.set_name))
    return (
        None if expr.op == "delete" else run.either(f"whether set {expr.set_name} has room depends on earlier packets")
    )


def _xt(run: Runner, expr: fw.Xt) -> Result:
    world = run.library.world
    if expr.kind == "match":
        match = MATCHES.get(expr.name)
        answer = match(world, run.flow, expr) if match else None
        return run.decide(answer, f"the iptables match {expr.name} is not analysed")
    # it may have changed anything about the packet
    raise Undecidable(run.reason(f"the iptables target {expr.name} is not analysed"))


# they steal or divert the packet, but do not change it
_DIVERTING = {"tproxy", "synproxy", "fwd", "objref synproxy", "objref map synproxy"}


def _anything(run: Runner, why: str) -> Result:
    """Go on, break off, accept or drop: every outcome of an expression that may be terminal."""
    return (None, BREAK, ACCEPT, DROP)[run.choices.choose(4, run.reason(why))]


def _unknown(run: Runner, expr: fw.Unknown) -> Result:
    for slot in expr.writes:
        run.registers.write(slot, unsure(4))
    why = fw.depends(expr)
    if expr.terminal and expr.name not in _DIVERTING:
        raise Undecidable(run.reason(why))
    return _anything(run, why) if expr.terminal else run.either(why)


_EXECUTE: dict[type, Callable[..., Result]] = {
    fw.Payload: _payload,
    fw.PayloadSet: _payload_set,
    fw.Meta: _meta,
    fw.MetaSet: _meta_set,
    fw.Cmp: _cmp,
    fw.Bitwise: _bitwise,
    fw.Byteorder: _byteorder,
    fw.Range: _range,
    fw.Lookup: _lookup,
    fw.Immediate: _immediate,
    fw.Ct: _ct,
    fw.CtSet: _ct_set,
    fw.Fib: _fib,
    fw.Limit: _limit,
    fw.Reject: _reject,
    fw.Nat: _nat,
    fw.Redirect: _redirect,
    fw.Masquerade: _masquerade,
    fw.Notrack: _notrack,
    fw.Pass: _pass,
    fw.Dynset: _dynset,
    fw.Xt: _xt,
    fw.Unknown: _unknown,
    **BEYOND,
}


def execute(run: Runner, expr: fw.Expr) -> Result:
    """Execute one expression: None to go on, `BREAK` to end the rule without effect, or a verdict."""
    return _EXECUTE[type(expr)](run, expr)
