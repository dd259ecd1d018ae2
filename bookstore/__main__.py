"""``python -m bookstore``: the command line where no script is installed."""

import sys

from bookstore.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
