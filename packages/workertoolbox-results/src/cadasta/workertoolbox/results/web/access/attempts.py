"""Limits on how often passwords are tried."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

#: Attempts that an address has at once, and seconds until it gets one more.
BURST, REFILL_S = 5, 30.0

#: The same for all addresses together from which no login has succeeded.
TOTAL_BURST, TOTAL_REFILL_S = 50, 1.0

#: Maximum number of addresses that are remembered; the oldest are forgotten first.
MAX_ADDRESSES = 10_000


class _Allowance:
    """A number of attempts that grows with time."""

    def __init__(self, burst: int, refill_s: float, now: float) -> None:
        self._burst, self._refill_s = burst, refill_s
        self._left, self._at = float(burst), now

    def wait_s(self, now: float) -> float:
        """Return how long it takes until there is an attempt."""
        self._left = min(
            self._burst, self._left + max(0.0, now - self._at) / self._refill_s
        )
        self._at = now
        return max(0.0, (1 - self._left) * self._refill_s)

    def take(self) -> None:
        self._left -= 1

    def give_back(self) -> None:
        self._left = min(self._burst, self._left + 1)


class Attempts:
    """Counts attempts by address, and in total.

    An attempt counts from its beginning, so that many at once are no way around the
    limit. An address from which a login has succeeded is limited by itself only: others
    cannot lock its users out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._total = _Allowance(TOTAL_BURST, TOTAL_REFILL_S, clock())
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    def begin(self, address: str) -> int:
        """Count an attempt; return after how many seconds it is allowed, 0 for now."""
        key = _network(address)
        with self._lock:
            now = self._clock()
            if key not in self._allowances:
                self._allowances[key] = _Allowance(BURST, REFILL_S, now)
                _limit(self._allowances)
            asked = [self._allowances[key]]
            if key not in self._known:
                asked.append(self._total)
            wait_s = max(each.wait_s(now) for each in asked)
            if not wait_s:
                for each in asked:
                    each.take()
            return math.ceil(wait_s)

    def succeed(self, address: str) -> None:
        """Undo an attempt that was right."""
        key = _network(address)
        with self._lock:
            if key in self._allowances:
                self._allowances[key].give_back()
            if key not in self._known:
                self._total.give_back()
            self._known[key] = None
            _limit(self._known)


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6 a host has a whole /64."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)  # As a socket for both versions shows it.
        return str(ipaddress.ip_network((int(ip), 64), strict=False))
    return str(ip)


def _limit(addresses: OrderedDict[str, Any]) -> None:
    while len(addresses) > MAX_ADDRESSES:
        addresses.popitem(last=False)
