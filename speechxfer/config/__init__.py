"""YAML and `key=value` words become a checked recipe. The only home of a default."""

from speechxfer.config.loading import dump_recipe, load_recipe, require_values, shipped_recipes
from speechxfer.config.recipe import REQUIRED, Recipe, Stage

__all__ = ["REQUIRED", "Recipe", "Stage", "dump_recipe", "load_recipe", "require_values", "shipped_recipes"]
