"""The JSON schema of `params.yaml`, for editors: types and ranges from the settings, descriptions from its comments.

What one entry asks of another, such as heads that divide the width, a schema can't say; `check` does.
"""

from __future__ import annotations

import json
import re
from typing import Any

from stages.check import Params

ENTRY = re.compile(r"^(?: {2})?(?P<key>\w+):(?:.*?)(?: # (?P<comment>.*))?$")


def comments(text: str) -> dict[tuple[str, str], str]:
    """The comment at the end of each line of a parameter file, by section and key; a section's own has no key."""
    found, section = {}, ""
    for line in text.splitlines():
        if entry := ENTRY.match(line):
            indented = line.startswith(" ")
            section = section if indented else entry["key"]
            if entry["comment"]:
                found[section, entry["key"] if indented else ""] = entry["comment"]
    return found


def schema(text: str) -> str:
    """The schema as JSON text.

    Args:
        text: the parameter file, for its comments.
    """
    made: dict[str, Any] = Params.model_json_schema()
    said = comments(text)
    for section, reference in made["properties"].items():
        settings = made["$defs"][reference["$ref"].rpartition("/")[2]]
        if (section, "") in said:
            reference["description"] = said[section, ""]
        for key, entry in settings["properties"].items():
            if (section, key) in said:
                entry["description"] = said[section, key]
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"
