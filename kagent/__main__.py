"""`python -m kagent` is `kagent`."""

from kagent import cli

cli.main(prog_name="kagent")
