"""`python -m speechxfer` is `speechxfer`."""

from speechxfer.cli import main

main()
