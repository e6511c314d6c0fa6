"""Check that broker and database are usable with the configuration of an app.

for finding in check_up(CheckContext(app)):
    print(finding.check, finding.status, finding.detail)
"""

from cadasta.workertoolbox.conf.checkup._checks import check_up
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, Status

__all__ = ["CheckContext", "Finding", "Status", "check_up"]
