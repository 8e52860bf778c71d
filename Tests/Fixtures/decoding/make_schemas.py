"""Schemas with instances that the Python package jsonschema holds to be valid and invalid.

    python make_schemas.py > schemas.json      (made with jsonschema 4.26.0 and its format checkers)

Valid instances are drawn at random from each schema and kept when jsonschema agrees; invalid ones are valid ones with
one part changed, kept when jsonschema refuses them.
"""
import json
import random
import sys

import jsonschema

TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["name", "children"],
    "additionalProperties": False,
}
SCHEMAS = [
    True,
    {"type": "object"},
    {"type": "string"},
    {"type": "integer"},
    {"type": "number"},
    {"type": ["string", "null"]},
    {"type": "boolean"},
    {"type": "null"},
    {"type": "string", "minLength": 3, "maxLength": 7},
    {"type": "string", "maxLength": 40},
    {"type": "string", "minLength": 2},
    {"type": "string", "pattern": "^[a-z]{2,5}-\\d+$"},
    {"type": "string", "pattern": "ab|^c.d$"},
    {"type": "string", "pattern": "^(\\(\\d{3}\\))? ?\\d{3}-\\d{4}$"},
    {"type": "string", "pattern": "^[^\"\\\\x]*$", "maxLength": 9},
    {"type": "string", "pattern": "^\\S+\\s\\w{1,3}$"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "email"},
    {"type": "string", "format": "ipv4"},
    {"type": "string", "format": "ipv6"},
    {"type": "string", "format": "hostname"},
    {"type": "string", "format": "duration"},
    {"type": "integer", "minimum": 0, "maximum": 100},
    {"type": "integer", "minimum": -17, "maximum": 1234},
    {"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 21},
    {"type": "integer", "minimum": 995},
    {"type": "integer", "maximum": -3},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "minimum": -2.5, "exclusiveMaximum": 10.25},
    {"type": "number", "exclusiveMinimum": 0},
    {"type": "number", "minimum": -0.75, "maximum": -0.2},
    {"type": "number", "exclusiveMaximum": 0, "minimum": -1},
    {"enum": ["red", "green", "blue", 1, 2.5, None, True, ["a"], {"b": 1}]},
    {"const": "only \"this\""},
    {"type": "integer", "enum": [1, 2, "x", 3.5]},
    {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    {"type": "array", "items": {"type": "array", "items": {"type": "null"}}, "minItems": 1},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2},
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "email": {"type": ["string", "null"]}, "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "age", "email", "tags"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "boolean"}},
        "required": ["b"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "ab": {"type": "integer"}},
        "additionalProperties": {"type": "string"},
    },
    {"type": "object", "additionalProperties": {"type": "integer"}, "required": ["need"]},
    {"type": "object", "properties": {}, "additionalProperties": False},
    TREE,
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "number"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["value", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    {
        "anyOf": [
            {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
             "required": ["kind", "lives"], "additionalProperties": False},
            {"type": "object", "properties": {"kind": {"const": "dog"}, "good": {"type": "boolean"}},
             "required": ["kind", "good"], "additionalProperties": False},
            {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
        ]
    },
    {"oneOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}, {"type": "null"}]},
    {
        "allOf": [
            {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
            {"properties": {"x": {"minimum": 3}, "y": {"type": "string"}}, "required": ["y"]},
        ]
    },
    {
        "type": "object",
        "properties": {"v": {"allOf": [{"type": ["integer", "string"]}, {"type": ["integer", "null"]}]}},
        "required": ["v"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "title": "Reply",
        "description": "as an application would ask",
        "properties": {
            "steps": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"explanation": {"type": "string"}, "output": {"type": "string"}},
                    "required": ["explanation", "output"],
                    "additionalProperties": False,
                },
            },
            "final_answer": {"type": "string"},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "unit": {"enum": ["°C", "°F"]},
        },
        "required": ["steps", "final_answer", "confidence", "unit"],
        "additionalProperties": False,
    },
]
SAMPLES = {
    "date": ["2024-02-29", "1999-12-31", "2100-02-28", "0001-01-01"],
    "date-time": ["2024-02-29T23:59:59Z", "1985-04-12T23:20:50.52Z", "1996-12-19T16:39:57-08:00"],
    "time": ["00:00:00Z", "23:59:59.123456+05:30"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000"],
    "email": ["a@b.co", "first.last+tag@sub.example.org"],
    "ipv4": ["0.0.0.0", "255.255.255.255", "192.168.1.1"],
    "ipv6": ["::", "::1", "fe80::1:2", "1:2:3:4:5:6:7:8", "2001:db8::8a2e:370:7334", "1::"],
    "hostname": ["localhost", "a-b.example.com"],
    "duration": ["P1D", "PT5M", "P3W", "P1Y2M3DT4H5M6S", "PT1H1M"],
    "^[a-z]{2,5}-\\d+$": ["ab-0", "hello-12345"],
    "ab|^c.d$": ["ab", "xxabyy", "cod", "tab \"quoted\""],
    "^(\\(\\d{3}\\))? ?\\d{3}-\\d{4}$": ["555-1212", "(888)555-1212", "(888) 555-1212"],
    "^[^\"\\\\x]*$": ["", "abc def", "no\nline", "ünï"],
    "^\\S+\\s\\w{1,3}$": ["word abc", "!? a_1"],
}
CHARACTERS = "abc XYZ019.,:;{}[]\"\\/\n\t\u00e9\u20ac\U0001f600<>&"


def resolve(schema, root):
    while isinstance(schema, dict) and "$ref" in schema:
        target = root
        for part in schema["$ref"].lstrip("#").split("/"):
            if part:
                target = target[part]
        schema = target
    return schema


def draw(schema, root, r, depth=0):
    schema = resolve(schema, root)
    if schema is True or schema == {}:
        schema = {"type": r.choice(["string", "integer", "null", "boolean"] + (["array", "object"] if depth < 3 else []))}
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return r.choice(schema["enum"])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return draw(schema[word][-1 if depth > 3 else r.randrange(len(schema[word]))], root, r, depth + 1)
    if "allOf" in schema:
        merged = {}
        for part in schema["allOf"]:
            for key, value in part.items():
                if key == "properties":
                    for name, inner in value.items():
                        merged.setdefault("properties", {}).setdefault(name, {}).update(inner)
                elif key == "required":
                    merged.setdefault("required", []).extend(value)
                elif key == "type" and "type" in merged:
                    merged["type"] = [t for t in merged["type"] if t in value]
                else:
                    merged[key] = value
        return draw(merged, root, r, depth)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = r.choice(kind)
    kind = kind or ("object" if "properties" in schema else "number" if "minimum" in schema else "string")
    if kind == "null":
        return None
    if kind == "boolean":
        return r.random() < 0.5
    if kind in ("integer", "number"):
        low, high = schema.get("minimum"), schema.get("maximum")
        low = schema["exclusiveMinimum"] if "exclusiveMinimum" in schema else low
        high = schema["exclusiveMaximum"] if "exclusiveMaximum" in schema else high
        low = low if low is not None else (high - 5000 if high is not None else -5000)
        high = high if high is not None else low + 5000
        if kind == "integer":
            return r.choice([r.randint(int(low), int(high)), int(low), int(high)])
        return r.choice([round(r.uniform(low, high), r.randrange(7)), low, high])
    if kind == "string":
        for word in ("format", "pattern"):
            if word in schema:
                return r.choice(SAMPLES[schema[word]])
        length = r.randint(schema.get("minLength", 0), schema.get("maxLength", schema.get("minLength", 0) + 12))
        return "".join(r.choice(CHARACTERS) for _ in range(length))
    if kind == "array":
        if "prefixItems" in schema:
            return [draw(item, root, r, depth + 1) for item in schema["prefixItems"]]
        low = schema.get("minItems", 0)
        count = low if depth > 3 else r.randint(low, schema.get("maxItems", low + 3))
        return [draw(schema.get("items", True), root, r, depth + 1) for _ in range(count)]
    value = {}
    required = schema.get("required", [])
    for name, inner in schema.get("properties", {}).items():
        if name in required or r.random() < 0.5:
            value[name] = draw(inner, root, r, depth + 1)
    extra = schema.get("additionalProperties", None if "properties" in schema else True)
    if extra is not False and extra is not None:
        names = [name for name in required if name not in value]
        names += r.sample(["zeta", "abc", "aba", "b", "", "k\u00e9y"], r.randrange(4))
        for name in names:
            if name not in schema.get("properties", {}):
                value[name] = draw(extra, root, r, depth + 1)
    return value


def change(value, r):
    """One part made different."""
    if isinstance(value, dict) and value and r.random() < 0.7:
        value = dict(value)
        name = r.choice(list(value))
        if r.random() < 0.3:
            del value[name]
        else:
            value[name] = change(value[name], r)
        return value
    if isinstance(value, list) and value and r.random() < 0.7:
        value = list(value)
        index = r.randrange(len(value))
        value[index] = change(value[index], r)
        return value
    return r.choice([None, True, -1, 10**9, 0.5, "", "zzzzzzzzzzzz", [], {}, {"other": 1}, [1, 2, 3, 4, 5]])


def styles(value, r):
    style = r.randrange(4)
    if style == 0:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if style == 1:
        return json.dumps(value, ensure_ascii=False)
    if style == 2:
        return json.dumps(value, indent=2, ensure_ascii=False)
    return json.dumps(value, separators=(", ", ": "), ensure_ascii=False)


r = random.Random(7)
out = []
for schema in SCHEMAS:
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    valid, invalid = set(), set()
    for _ in range(60):
        value = draw(schema, schema, r)
        if checker.is_valid(value) and len(valid) < 14:
            valid.add(styles(value, r))
        broken = change(value, r)
        if not checker.is_valid(broken) and len(invalid) < 8:
            invalid.add(styles(broken, r))
    if not valid:
        sys.exit(f"no valid instance of {schema}")
    out.append({"schema": schema, "valid": sorted(valid), "invalid": sorted(invalid)})
print(json.dumps(out, ensure_ascii=True, indent=None))
