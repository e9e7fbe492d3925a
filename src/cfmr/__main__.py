"""`python -m cfmr`."""

from cfmr.cli import main

main()
