"""Make the service importable for its tests, as it is for the demo."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
