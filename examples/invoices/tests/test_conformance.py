"""The toolbox's conformance tests, run on this service."""

from __future__ import annotations

from cadasta.workertoolbox.conf.testing import conformance
from invoices.tasks import price, write

TestService = conformance("invoices.app:app", run=[price.s(2, 250), write.s([500])])
