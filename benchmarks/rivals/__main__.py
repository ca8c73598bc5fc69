"""`python -m benchmarks.rivals`."""

import sys

from benchmarks.rivals.command import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
