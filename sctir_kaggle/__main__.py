"""`python -m sctir_kaggle` is the command `sctir`."""

import sys

from sctir_kaggle.cli import main

if __name__ == "__main__":
    sys.exit(main())
