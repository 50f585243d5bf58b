"""`python -m touchplate.verify …`: the same as the console command `touchplate …`."""

import sys

from touchplate.verify.cli import main

if __name__ == "__main__":
    sys.exit(main())
