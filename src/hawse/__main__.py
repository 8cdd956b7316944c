"""`python -m hawse`."""

import sys

from hawse.cli import main

sys.exit(main())
