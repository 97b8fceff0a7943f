"""`python -m escalade`."""

from escalade.cli import main

main()
