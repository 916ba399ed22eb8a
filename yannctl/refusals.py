"""What is wrong in a file that a pydantic model has refused, in one line."""

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


def wrong_entry(error: "ValidationError", model: "type[BaseModel]") -> tuple[str, str]:
    """Name the entry to mend first: a misspelt key also leaves its right name missing, so it goes before that.

    Args:
        error: what pydantic found.
        model: the model of the whole file, whose keys are suggested.

    Returns:
        Place, as "table.key", and what is wrong with it.
    """
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    place = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return place, first["msg"].removeprefix("Value error, ")
    near = difflib.get_close_matches(str(first["loc"][-1]), sorted(_keys(model.model_json_schema())), 2, 0.6)
    return place, "unknown entry" + (f"; did you mean {' or '.join(near)}?" if near else "; leave it away")


def _keys(schema: dict[str, Any]) -> set[str]:
    """Every key that a file of this schema may hold."""
    own = set(schema.get("properties", {}))
    return own.union(*(_keys(part) for part in schema.get("$defs", {}).values()))
