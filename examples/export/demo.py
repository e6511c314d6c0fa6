"""Export a folder with a worker and a monitor, and show what the database knows.

No server is needed: broker and database are in the folder `.workertoolbox`. With
`WORKERTOOLBOX_BROKER_URL` and `WORKERTOOLBOX_RESULT_BACKEND` in the environment the
same runs on those.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        # Takes a second or two, in which Ctrl-C has nothing to stop yet.
        from export_demo.command import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
