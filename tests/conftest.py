"""For all tests."""

import os

from hypothesis import settings

# The same examples in every run: a red run must be the fault of what was changed. EXPLORE=1 looks for new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("explore" if os.environ.get("EXPLORE") else "same")
