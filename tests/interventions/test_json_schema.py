"""JSON schemas and regular expressions: what can't be kept to is refused before anything is fitted to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llguidance")

from dipole.controls.tokens.grammar import Grammar as Control
from dipole.interventions import load_intervention
from dipole.interventions.pools.json_schema import DONE, NOT_DONE, NOTES
from dipole.interventions.tokens import Grammar
from dipole.lm import LM
from dipole.types import UserError

TEXT = {"type": "string"}
USED: dict[str, Any] = {  # a schema for each keyword that counts, and what is allowed and forbidden by it
    "type": ({"type": "integer"}, "7", '"a"'),
    "enum": ({"enum": ["a", 1]}, "1", "2"),
    "const": ({"const": [1]}, "[1]", "[2]"),
    "properties": ({"type": "object", "properties": {"a": TEXT}}, '{"a": "x"}', '{"a": 1}'),
    "required": ({"type": "object", "required": ["a"]}, '{"a": 1}', "{}"),
    "additionalProperties": ({"type": "object", "additionalProperties": False}, "{}", '{"a": 1}'),
    "minProperties": ({"type": "object", "minProperties": 1}, '{"a": 1}', "{}"),
    "maxProperties": ({"type": "object", "maxProperties": 1}, '{"a": 1}', '{"a": 1, "b": 1}'),
    "items": ({"type": "array", "items": TEXT}, '["a"]', "[1]"),
    "prefixItems": ({"type": "array", "prefixItems": [TEXT]}, '["a", 1]', "[1]"),
    "additionalItems": ({"type": "array", "items": [TEXT], "additionalItems": False}, '["a"]', '["a", 1]'),
    "minItems": ({"type": "array", "minItems": 1}, "[1]", "[]"),
    "maxItems": ({"type": "array", "maxItems": 1}, "[1]", "[1, 2]"),
    "minLength": ({"type": "string", "minLength": 2}, '"ab"', '"a"'),
    "maxLength": ({"type": "string", "maxLength": 2}, '"ab"', '"abc"'),
    "pattern": ({"type": "string", "pattern": "^a"}, '"ab"', '"ba"'),
    "format": ({"type": "string", "format": "date"}, '"2024-02-03"', '"2024"'),
    "minimum": ({"type": "integer", "minimum": 3}, "3", "2"),
    "maximum": ({"type": "integer", "maximum": 3}, "3", "4"),
    "exclusiveMinimum": ({"type": "integer", "exclusiveMinimum": 3}, "4", "3"),
    "exclusiveMaximum": ({"type": "integer", "exclusiveMaximum": 3}, "2", "3"),
    "multipleOf": ({"type": "integer", "multipleOf": 3}, "6", "7"),
    "anyOf": ({"anyOf": [TEXT, {"type": "null"}]}, "null", "1"),
    "oneOf": ({"oneOf": [TEXT, {"type": "null"}]}, "null", "1"),
    "allOf": ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, "3", "2"),
    "$ref": ({"$ref": "#/$defs/a", "$defs": {"a": TEXT}}, '"a"', "1"),
}


def follows(grammar: Grammar, text: str) -> bool:
    """Whether a text can be written, one byte a token, and ended."""
    from dipole.interventions.pools.vocabulary import Vocabulary

    vocabulary = Vocabulary([*(bytes([b]) for b in range(256)), None], (256,))
    walk = grammar.walks(vocabulary, [("", False)], "bytes")[0]
    for byte in [*text.encode(), 256]:
        allowed = walk.allowed()
        if (byte in allowed.tokens.tolist()) is not allowed.listed:
            return False
        walk.advance(byte)
    return True


@pytest.mark.parametrize("keyword", sorted(DONE))
def test_each_keyword_that_is_taken_is_kept_to(keyword: str) -> None:
    schema, valid, invalid = USED[keyword]
    assert keyword in schema
    assert follows(Grammar(json_schema=json.dumps(schema)), valid)
    assert not follows(Grammar(json_schema=json.dumps(schema)), invalid)


@pytest.mark.parametrize("keyword", sorted(NOTES))
def test_each_keyword_that_only_notes_is_taken(keyword: str) -> None:
    value: Any = {
        "$defs": {},
        "definitions": {},
        "$id": "http://example.org/a",
        "id": "http://example.org/a",
    }.get(keyword, "x" if keyword != "examples" else ["x"])
    value = "https://json-schema.org/draft/2020-12/schema" if keyword == "$schema" else value
    assert follows(Grammar(json_schema=json.dumps({"type": "integer", keyword: value, "x-mine": 1})), "3")


@pytest.mark.parametrize("keyword", sorted(NOT_DONE))
@pytest.mark.parametrize("inside", [False, True])
def test_a_keyword_that_can_not_be_kept_to_is_named_at_fit(keyword: str, inside: bool, tiny: LM) -> None:
    schema: dict[str, Any] = {"type": "object", keyword: {}}
    if inside:
        schema = {"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, schema]}}}
    with pytest.raises(UserError, match=f"can't keep to `{keyword.replace('$', '[$]')}`") as caught:
        Control(json_schema=json.dumps(schema)).fit(tiny)
    assert ("(at properties/a/anyOf/1)" in str(caught.value)) is inside


def test_a_property_may_be_called_like_a_keyword() -> None:
    names = {name: TEXT for name in ("not", "if", "patternProperties", "typ")}
    assert follows(Grammar(json_schema=json.dumps({"type": "object", "properties": names})), '{"not": "a"}')


def test_what_nothing_points_to_does_not_count() -> None:
    schema = {"type": "integer", "$defs": {"a": {"not": {}}, "b": {"typ": 1}}}
    assert follows(Grammar(json_schema=json.dumps(schema)), "3")
    with pytest.raises(UserError, match=r"`not` \(at #/\$defs/a\)"):
        Grammar(json_schema=json.dumps({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}], **schema}))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ('{"typ": "string"}', "`typ` is no keyword of a JSON schema.* Did you mean `type`"),
        (
            '{"properties": {"a": {"requird": []}}}',
            r"`requird` \(at properties/a\).* Did you mean `required`",
        ),
        ('{"type": "string", "type": "integer"}', "the key `type` twice"),
        (
            '{"$ref": "http://example.org/a.json"}',
            "points out of itself by `[$]ref` 'http://example.org/a.json'",
        ),
        ('{"$ref": "other.json#/a"}', "points out of itself"),
        ('{"$ref": "#/$defs/a", "$defs": {}}', "points by `[$]ref` to '#/[$]defs/a'"),
        ('{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}', "without end by `[$]ref`"),
        (
            '{"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "required": ["b"], "properties": {"b": '
            '{"$ref": "#/$defs/a"}}}}}',
            "without end by `[$]ref`",
        ),
        (
            '{"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "array", '
            '"minItems": 1, "items": {"$ref": "#/$defs/a"}}}}',
            "without end by `[$]ref`",
        ),
        ('{"type": "object", "minProperties": 2}', "`minProperties` 2"),
        ('{"type": "string", "format": "colour"}', "Unknown format: colour"),
        ('{"type": "integer", "minimum": 5, "maximum": 3}', r"minimum \(5\) is greater"),
        ('{"enum": []}', "Unsatisfiable"),
        ('{"allOf": [{"type": "string"}, {"type": "integer"}]}', "Unsatisfiable"),
        ('{"type": "string", "pattern": "(?=a)b"}', "look-around"),
        ('{"type": "string", "pattern": "(a)\\\\1"}', "backreferences"),
        ('{"type": "string", "pattern": "^[^\\\\s\\\\S]$"}', "Unsatisfiable"),
        ('{"type": "string", "pattern": "^ab$", "minLength": 5}', "Unsatisfiable"),
        ('{"oneOf": [{"type": "number"}, {"type": "integer"}]}', "oneOf"),
        ("false", "no text is valid"),
        ("[1]", "A JSON schema is an object"),
        ('"text"', "A JSON schema is an object"),
        ("null", "A JSON schema is an object"),
        ("{", "is no JSON"),
        ('{"a": ' * 20_000, "nested too deeply"),
        ("[" * 20_000, "nested too deeply"),
    ],
)
def test_a_schema_that_means_nothing_is_refused_at_fit(schema: str, message: str, tiny: LM) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Control(json_schema=schema).fit(tiny)
    assert "\n" not in str(caught.value)


def test_a_schema_that_recurs_and_may_end_is_taken() -> None:
    tree = {"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False}
    assert follows(Grammar(json_schema=json.dumps(tree)), '{"a": {"a": {}}}')
    nested = {"type": "array", "items": {"$ref": "#"}}
    assert follows(Grammar(json_schema=json.dumps(nested)), "[[], [[]]]")


def test_the_schema_true_is_any_json() -> None:
    assert follows(Grammar(json_schema="true"), '{"a": [1, null]}')


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("(?=a)b", "look-around"),
        ("(?<!a)b", "look-around"),
        (r"(a)\1", "backreferences"),
        (r"\bfoo", "lookarounds not supported"),
        ("a(b", "unclosed group"),
        ("x{3,1}", "repetition count"),
        ("[a&&b]", "No text can match"),
        (r"a[^\s\S]", "No text can match"),
    ],
)
def test_a_regular_expression_that_can_not_be_followed_is_refused_at_fit(
    regex: str, message: str, tiny: LM
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Control(regex=regex).fit(tiny)
    assert "\n" not in str(caught.value)


def test_a_saved_schema_is_checked_when_it_is_loaded(tiny: LM, tmp_path: Path) -> None:
    Control(json_schema='{"type": "integer"}').fit(tiny).save(tmp_path / "pool")
    file = tmp_path / "pool" / "dipole.json"
    meta = json.loads(file.read_text("utf-8"))
    meta["language"]["json_schema"] = '{"type": "object", "patternProperties": {"^a": {}}}'
    file.write_text(json.dumps(meta), "utf-8")
    with pytest.raises(UserError, match="`patternProperties`"):
        load_intervention(tmp_path / "pool")


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_schema_in_a_file_with_a_byte_order_mark(mark: str, tiny: LM, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes('{"enum": ["é"]}'.encode(mark))
    assert follows(Control(json_schema=str(tmp_path / "s.json")).fit(tiny).language, '"é"')
