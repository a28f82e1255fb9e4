"""The command line."""

from sharedmem.cli.main import main

__all__ = ["main"]
