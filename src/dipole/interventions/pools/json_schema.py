"""What a JSON schema may say, so that a text that is written by it is valid by it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from dipole.types import UserError

Schema = dict[str, Any]

_SCHEMA = ("additionalProperties", "additionalItems", "items")
_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
DONE = frozenset(
    [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
        "items",
        "prefixItems",
        "additionalItems",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
    ]
)
NOTES = frozenset(
    [
        "$schema",
        "$id",
        "id",
        "$anchor",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
    ]
)
NOT_DONE = {
    **dict.fromkeys(
        [
            "not",
            "if",
            "then",
            "else",
            "contains",
            "minContains",
            "maxContains",
            "uniqueItems",
            "propertyNames",
            "dependencies",
            "dependentRequired",
            "dependentSchemas",
            "unevaluatedItems",
            "unevaluatedProperties",
            "$dynamicRef",
            "$dynamicAnchor",
            "$recursiveRef",
            "$recursiveAnchor",
            "$vocabulary",
            "nullable",
            "discriminator",
            "extends",
            "disallow",
            "divisibleBy",
        ],
        "it does not know how",
    ),
    # What the engine takes, and then does not keep to.
    **dict.fromkeys(["contentEncoding", "contentMediaType", "contentSchema"], "it writes any text"),
    "patternProperties": "it lets a name pass that is written with an escape, such as \\u0061",
    "x-guidance": "it lets the engine ignore the rest",
}
"""Keywords that the engine can't keep to, and why."""


def checked_schema(text: str) -> str:
    """A JSON schema in the form that the engine takes.

    Raises:
        UserError: It is no JSON, no schema, has a keyword twice or one that the engine can't keep to or that
            is not known, points to what is not in it, or no finite text is valid by it.
    """
    try:
        schema = json.loads(text, object_pairs_hook=_object)
        if schema is True:
            return "{}"
        if schema is False:
            raise UserError("The JSON schema is `false`, by which no text is valid; give an object.")
        if not isinstance(schema, dict):
            raise UserError(
                f"A JSON schema is an object, and this is {text.strip()[:40]!r}; give one in {{}}."
            )
        parts = list(_reached(schema, schema, "", set()))
        for where, part in parts:
            _require_known(where, part)
        endless = next((w for w, part in parts if not _ends(part, schema, set())), None)
    except RecursionError:
        raise UserError("The JSON schema is nested too deeply; make it flatter.") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"The JSON schema is no JSON ({error}); correct it.") from None
    if endless is not None:
        raise UserError(
            f"The JSON schema needs itself inside itself without end by `$ref`{_at(endless)}; make the part "
            "that recurs optional."
        )
    return text


def _object(pairs: list[tuple[str, Any]]) -> Schema:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for k, (name, _) in enumerate(pairs) if name in dict(pairs[:k]))
        raise UserError(f"The JSON schema has the key `{twice}` twice in one object; keep one of them.")
    return found


def _reached(part: Any, root: Schema, where: str, seen: set[str]) -> Iterator[tuple[str, Schema]]:
    """The schema and all schemas in it that count, with where they stand; what nothing points to does not."""
    if not isinstance(part, dict):
        return
    yield where, part
    if isinstance(ref := part.get("$ref"), str) and ref not in seen:
        seen.add(ref)
        yield from _reached(_pointed(ref, root), root, ref, seen)
    for name, inner in _inside(part):
        yield from _reached(inner, root, f"{where}/{name}", seen)


def _inside(part: Schema) -> Iterator[tuple[str, Any]]:
    for name in _SCHEMA:
        if isinstance(part.get(name), dict):
            yield name, part[name]
    for name in _SCHEMAS:
        if isinstance(part.get(name), list):
            yield from ((f"{name}/{k}", inner) for k, inner in enumerate(part[name]))
    if isinstance(part.get("properties"), dict):
        yield from ((f"properties/{name}", inner) for name, inner in part["properties"].items())


def _pointed(ref: str, root: Schema) -> Any:
    """What a reference inside the schema points to; None for an anchor or an `$id`, which the engine knows.

    Raises:
        UserError: It points to another document, or to nothing.
    """
    if not ref.startswith("#"):
        if "$id" in root or "id" in root:
            return None
        raise UserError(
            f"The JSON schema points out of itself by `$ref` {ref!r}, and nothing is fetched; put that "
            "schema under `$defs`."
        )
    if ref[1:2] not in ("", "/"):
        return None
    found: Any = root
    for step in ref[2:].split("/") if len(ref) > 1 else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise UserError(
                f"The JSON schema points by `$ref` to {ref!r}, which it does not have; correct it."
            )
    return found


def _require_known(where: str, part: Schema) -> None:
    for name in part:
        if name in DONE or name in NOTES or (name.startswith("x-") and name not in NOT_DONE):
            continue
        if name in NOT_DONE:
            raise UserError(
                f"The grammar engine can't keep to `{name}`{_at(where)}: {NOT_DONE[name]}; leave it out "
                "of the JSON schema, or say it with other keywords."
            )
        near = difflib.get_close_matches(name, sorted(DONE | NOTES), n=1, cutoff=0.6)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise UserError(
            f"`{name}`{_at(where)} is no keyword of a JSON schema; correct it or leave it out.{hint}"
        )
    required = part.get("required")
    fewest = part.get("minProperties", 0)
    if isinstance(fewest, int) and fewest > max(1, len(required) if isinstance(required, list) else 0):
        raise UserError(
            f"The grammar engine can't keep to `minProperties` {fewest}{_at(where)}: it counts a name that "
            "is written twice as two; name the properties under `required`."
        )


def _ends(part: Any, root: Schema, known: set[str], above: frozenset[str] = frozenset()) -> bool:
    """Whether some finite text is valid, as far as references go: False where one needs itself again.

    Args:
        part: The schema.
        root: What references point into.
        known: References that are known to end; added to.
        above: References that the part is inside of.
    """
    if not isinstance(part, dict):
        return True

    def ends(inner: Any) -> bool:
        return _ends(inner, root, known, above)

    ref = part.get("$ref")
    if isinstance(ref, str) and ref not in known:
        if ref in above or not _ends(_pointed(ref, root), root, known, above | {ref}):
            return False
        known.add(ref)
    for name, enough in (("allOf", all), ("anyOf", any), ("oneOf", any)):
        if isinstance(part.get(name), list) and part[name] and not enough(map(ends, part[name])):
            return False
    return all(map(ends, _needed(part)))


def _needed(part: Schema) -> list[Any]:
    """The schemas of what each valid text has to hold."""
    if part.get("type") in ("object", ["object"]) and isinstance(required := part.get("required"), list):
        named = part.get("properties")
        properties = named if isinstance(named, dict) else {}
        return [properties.get(name, part.get("additionalProperties")) for name in required]
    fewest = part.get("minItems", 0)
    if part.get("type") in ("array", ["array"]) and isinstance(fewest, int):
        listed = part.get("prefixItems", part.get("items"))
        first = listed if isinstance(listed, list) else []
        return [*first[:fewest], *([part.get("items")] if fewest > len(first) else [])]
    return []


def _at(where: str) -> str:
    return f" (at {where.lstrip('/')})" if where.lstrip("/") else ""
