"""YAML and `key=value` words become a checked recipe. The only home of a default."""

from speechxfer.config.loading import (
    ADAPT,
    WAKEWORD_TRAIN,
    detect_command,
    dump_recipe,
    load_command_settings,
    load_recipe,
    require_values,
    shipped_recipes,
)
from speechxfer.config.recipe import REQUIRED, DataTable, Recipe, StageConfig

__all__ = [
    "ADAPT",
    "REQUIRED",
    "WAKEWORD_TRAIN",
    "DataTable",
    "Recipe",
    "StageConfig",
    "detect_command",
    "dump_recipe",
    "load_command_settings",
    "load_recipe",
    "require_values",
    "shipped_recipes",
]
