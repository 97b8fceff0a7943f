"""The command line `escalade`, whose commands are in `cli.app`; what each of them shows is in a module beside it."""

from __future__ import annotations

import signal
import sys
from typing import Any


def main() -> None:
    """Run the command line; every error of ours is one message and exit code 2, never a traceback."""
    from escalade.cli.app import app
    from escalade.errors import EscaladeError

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)  # as Ctrl-C: what was paid for is kept
    try:
        app()
    except EscaladeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:  # a full disk, a file that may not be written
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
