"""Imported by the fork server: everything is loaded, compiled kernels too, before the first fork."""

from __future__ import annotations

from tests.integration.bidding import bidder
from tests.unit.bidding.plans import DAY, offer_for, storage, two_peaks

READY = (bidder.main, offer_for(DAY, two_peaks(49), storage()))
