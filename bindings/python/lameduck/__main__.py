"""``python -m lameduck``: the ``lameduck`` command, in the place of this process."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Become the command that is part of the wheel; its exit status and signals are its own."""
    program = Path(__file__).with_name("_command")
    try:
        os.execv(program, ["lameduck", *sys.argv[1:]])
    except OSError as error:
        sys.stderr.write(
            f"error: lameduck's command does not start here: {error}. "
            "Install a wheel for this platform, or build one from the repository with 'make python'\n"
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
