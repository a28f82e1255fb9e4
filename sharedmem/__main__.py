"""The command line: ``python -m sharedmem``."""

import sys

from sharedmem.cli import main

sys.exit(main())
