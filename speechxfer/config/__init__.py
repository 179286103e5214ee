"""YAML and `key=value` words become a checked recipe. The only home of a default."""

from speechxfer.config.loading import (
    ADAPT,
    WAKE_WORD,
    command_of,
    dump_recipe,
    load_recipe,
    load_settings,
    require_values,
    shipped_recipes,
)
from speechxfer.config.recipe import REQUIRED, Recipe, Stage

__all__ = [
    "ADAPT",
    "REQUIRED",
    "WAKE_WORD",
    "Recipe",
    "Stage",
    "command_of",
    "dump_recipe",
    "load_recipe",
    "load_settings",
    "require_values",
    "shipped_recipes",
]
