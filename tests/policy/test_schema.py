"""The JSON Schema for editors says what the loader says, as far as a schema can."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from librespot_guard.policy import FLAVOURS, SURFACES, read
from librespot_guard.policy.document import Document, parse
from librespot_guard.policy.schema import ALLOW, DOORS, EGRESS, MATCH, POLICY, SERVICE, SOURCE, TAKEOVERS
from policy.factory import calm
from support import Schema

if TYPE_CHECKING:
    from librespot_guard.policy.decode import Keys


def content(case: Path) -> Document:
    """A case as values."""
    return parse(case.read_bytes().decode("utf-8"), file=case.name)


# those that are YAML without faults; the others no schema sees
CASES = [case for case in sorted((Path(__file__).parent / "cases").glob("*.yaml")) if not content(case).faults]
# beyond a schema too: names that must exist, and equal matches
UNSEEN = {"same-match", "no-such-source", "no-sources"}


@pytest.fixture
def validator(schema: Schema) -> Any:
    """The validator of policy files."""
    return schema("policy")


def test_the_same_keys(validator: Any) -> None:
    """Each mapping of the loader has the keys, and needs the keys, that the schema has."""
    definitions = validator.schema["$defs"]
    pairs: list[tuple[Keys, dict[str, Any]]] = [
        (POLICY, validator.schema),
        (SOURCE, definitions["source"]),
        (MATCH, definitions["match"]),
        (SERVICE, definitions["service"]),
        (ALLOW, definitions["allow"]["oneOf"][1]),
    ]

    for keys, definition in pairs:
        assert set(keys.known) == set(definition["properties"])
        assert set(keys.missing) == set(definition.get("required", ()))
        assert definition["additionalProperties"] is False


def test_the_same_words(validator: Any) -> None:
    """Surfaces, flavours and the words of later keys are the same."""
    definitions = validator.schema["$defs"]
    long = definitions["allow"]["oneOf"][1]["properties"]

    assert definitions["surface"]["enum"] == list(SURFACES)
    assert definitions["match"]["properties"]["flavour"]["enum"] == list(FLAVOURS)
    assert long["takeover"]["enum"] == list(TAKEOVERS)
    assert long["through"]["enum"] == list(DOORS)
    assert definitions["service"]["properties"]["egress"]["enum"] == list(EGRESS)


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_the_schema_agrees_about_the_corpus(validator: Any, case: Path) -> None:
    """A valid policy validates; a faulty one does not, where a schema can see the fault."""
    valid = validator.is_valid(content(case).value)

    assert valid == (case.with_suffix(".warnings").exists() or case.stem in UNSEEN)


POLICIES = st.fixed_dictionaries(
    {
        "policy": st.just(1),
        "services": st.dictionaries(
            st.sampled_from(["a", "b"]),
            st.fixed_dictionaries(
                {"match": st.fixed_dictionaries({"port": st.integers(-1, 70000)})},
                optional={
                    "allow": st.dictionaries(
                        st.sampled_from([*SURFACES, "x"]),
                        st.lists(st.just("home"), max_size=2) | st.fixed_dictionaries({"from": st.lists(st.just("home"), max_size=1)}),
                        max_size=2,
                    ),
                    "egress": st.sampled_from([*EGRESS, "x"]),
                },
            ),
            max_size=1,
        ),
        "sources": st.fixed_dictionaries(
            {"home": st.fixed_dictionaries({"interface": st.sampled_from(["eth0", "eth*", ""]), "why": st.sampled_from(["x", " "])})}
        ),
    },
    optional={"title": st.sampled_from(["x", "", " "]), "review": st.sampled_from(["every 2 weeks", "every week", "weekly"])},
)  # fmt: skip


@calm
@given(POLICIES)
def test_the_schema_agrees_about_drawn_policies(schema: Schema, drawn: Any) -> None:
    """Loader and schema say the same of policies that are right or nearly so."""
    validator = Draft202012Validator(schema("policy").schema)  # type: ignore[attr-defined]

    assert validator.is_valid(drawn) == (read(yaml.safe_dump(drawn), file="p").policy is not None)
