"""A rule of `nft -j` in nft's own words, for people: as `nft list ruleset` would print it, as far as that can be told."""

from typing import Any

_LONG = 400


def rule_words(statements: Any) -> str:
    """One line; what has no words of its own stays as JSON shows it."""
    if not isinstance(statements, list):
        return _short(statements)
    return _cut(" ".join(_statement(s) for s in statements))


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 3] + "..."


def _short(value: Any) -> str:
    return _cut(str(value))


def _statement(value: Any) -> str:
    if not isinstance(value, dict) or len(value) != 1:
        return _short(value)
    ((name, body),) = value.items()
    if name == "match" and isinstance(body, dict):
        op = body.get("op", "==")
        between = "" if op in ("==", "in") else f"{op} "
        return f"{words(body.get('left'))} {between}{words(body.get('right'))}"
    if name in ("jump", "goto") and isinstance(body, dict):
        return f"{name} {body.get('target')}"
    if name == "vmap" and isinstance(body, dict):
        return f"{words(body.get('key'))} vmap {words(body.get('data'))}"
    if name == "mangle" and isinstance(body, dict):
        return f"{words(body.get('key'))} set {words(body.get('value'))}"
    if name == "reject" and isinstance(body, dict):
        return f"reject with {body.get('type', '')} {words(body.get('expr', ''))}".strip()
    if name == "limit" and isinstance(body, dict):
        return f"limit rate {'over ' if body.get('inv') else ''}{body.get('rate')}/{body.get('per')}"
    if name in ("dnat", "snat", "redirect", "tproxy") and isinstance(body, dict):
        port = f":{words(body['port'])}" if "port" in body else ""
        return f"{name} to {words(body.get('addr', ''))}{port}"
    if name == "xt" and isinstance(body, dict):
        return f"xt {body.get('type')} {body.get('name')}"
    if name == "set" and isinstance(body, dict):
        return f"{body.get('op')} {body.get('set')} {{ {words(body.get('elem'))} }}"
    if body is None or name in ("counter", "log"):
        return str(name)
    return f"{name} {words(body)}"


def words(value: Any) -> str:
    """An expression."""
    if isinstance(value, list):
        return ",".join(words(v) for v in value)
    if not isinstance(value, dict) or not value:
        return str(value)
    if len(value) > 1:
        return " ".join(f"{k} {words(v)}" for k, v in value.items())
    ((name, body),) = value.items()
    if name == "payload" and isinstance(body, dict):
        if "protocol" in body:
            return f"{body['protocol']} {body.get('field')}"
        return f"@{body.get('base')},{body.get('offset')},{body.get('len')}"
    if name in ("meta", "ct") and isinstance(body, dict):
        bare = name == "meta" and body.get("key") in ("iif", "oif", "iifname", "oifname", "skuid", "skgid", "rtclassid")
        way = f" {body['dir']}" if "dir" in body else ""
        return str(body.get("key")) if bare else f"{name}{way} {body.get('key')}"
    if name == "prefix" and isinstance(body, dict):
        return f"{body.get('addr')}/{body.get('len')}"
    if name == "range" and isinstance(body, list):
        return "-".join(words(v) for v in body)
    if name == "concat" and isinstance(body, list):
        return " . ".join(words(v) for v in body)
    if name == "set":
        items = body if isinstance(body, list) else [body]
        return (
            "{ " + ", ".join(" : ".join(words(x) for x in v) if isinstance(v, list) else words(v) for v in items) + " }"
        )
    if name == "map" and isinstance(body, dict):
        return f"{words(body.get('key'))} map {words(body.get('data'))}"
    if name == "elem" and isinstance(body, dict):
        return words(body.get("val"))
    if name == "fib" and isinstance(body, dict):
        flags = body.get("flags")
        return f"fib {' . '.join(flags) if isinstance(flags, list) else flags} {body.get('result')}"
    if name in ("&", "|", "^", "<<", ">>") and isinstance(body, list):
        return f" {name} ".join(words(v) for v in body)
    if name in ("jump", "goto") and isinstance(body, dict):
        return f"{name} {body.get('target')}"
    return name if body is None else f"{name} {words(body)}"
