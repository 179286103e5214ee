"""Gives the columns of a table their canonical names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from speechxfer.tables import ColumnMap

# roles whose columns are renamed; the others (hypothesis, duration) keep their names
_RENAMED = ("id", "audio", "text", "label", "speaker", "accent", "language", "split", "start", "end")


def rename_to_roles(roles: ColumnMap, names: Iterable[str]) -> Mapping[str, str]:
    """Return old name to new name: a column with a role is named by it.

    A table without a text has its references as the text. A column that has the name of a role which another column was
    chosen for is named NAME.1.
    """
    roles = dict(roles)
    if "text" not in roles and "reference" in roles:
        roles["text"] = roles["reference"]
    renames = {roles[role]: role for role in _RENAMED if role in roles and roles[role] != role}
    known = list(names)
    taken = {new for old, new in renames.items() if old in known}
    return renames | {name: f"{name}.1" for name in known if name in taken and name not in renames}
