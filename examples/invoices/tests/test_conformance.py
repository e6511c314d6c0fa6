"""The service keeps what the toolbox promises."""

from __future__ import annotations

from cadasta.workertoolbox.conf.testing import conformance
from invoices.tasks import price, write

TestService = conformance("invoices.app:app", run=[price.s(2, 250), write.s([500])])
