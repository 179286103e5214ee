"""An example of a package that extends speechxfer. A module is imported when its part is named."""
