"""`python -m cutler` is the command `cutler`."""

from __future__ import annotations

from cutler.cli import main

if __name__ == "__main__":
    main()
