"""Judges texts by JSON Schema: reads lines {"schema": …, "text": "…"}, writes a line for each that is not valid.

Used by Tests/DecodingTests with whatever python3 has the jsonschema package.
"""
import json
import sys

import jsonschema

checkers = {}
for number, line in enumerate(sys.stdin):
    entry = json.loads(line)
    key = json.dumps(entry["schema"])
    if key not in checkers:
        validator = jsonschema.Draft202012Validator
        checkers[key] = validator(entry["schema"], format_checker=validator.FORMAT_CHECKER)
    try:
        value = json.loads(entry["text"])
        for fault in checkers[key].iter_errors(value):
            print(number, key[:200], repr(entry["text"])[:300], fault.message[:200], sep=" | ")
            break
    except ValueError as fault:
        print(number, key[:200], repr(entry["text"])[:300], fault, sep=" | ")
