"""`python -m librespot_guard`."""

import sys

from librespot_guard.cli.entry import main

sys.exit(main())
