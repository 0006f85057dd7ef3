"""How every command of the trainings ends: what the user can mend is said in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

from CTForgeryScanLib.errors import CTForgeryScanError


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command and exit with its status, none being 0.

    What the user can mend ends it with a sentence and status 2, Ctrl-C with status 130.
    """
    try:
        sys.exit(main())
    except CTForgeryScanError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
