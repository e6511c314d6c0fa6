"""Export a folder with a worker and a monitor, and show what the database knows.

The demo needs no server: broker and database are in the folder `.workertoolbox`. With
`WORKERTOOLBOX_BROKER_URL` and `WORKERTOOLBOX_RESULT_BACKEND` in the environment it uses
those instead.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        # The import takes a second, in which no process has been started yet.
        from export_demo.command import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
