"""Where the command `shoal` begins: the agent of a site starts without what the rest of the commands need."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command line and leave with its exit code."""
    if sys.argv[1:2] == ["edge"]:
        from shoal.cli.edge import main

        sys.exit(main(sys.argv[2:]))
    from shoal.cli.main import run as rest

    rest()


if __name__ == "__main__":
    run()
