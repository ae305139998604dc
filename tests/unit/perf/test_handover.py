"""How long the cache of a prompt is on its way."""

from __future__ import annotations

import math

import pytest

from guide.perf.handover import Lanes, busy_share, transfer_s

NIC = Lanes(ports=2, bytes_per_s=10e9)


def test_an_idle_port_takes_the_bytes_over_its_rate():
    assert transfer_s(2e9, 2e9, 0.0, NIC) == pytest.approx(0.2)


def test_transfers_at_the_same_time_share_a_port():
    # 5 requests/s of 2 GB over 2 ports of 10 GB/s: half busy, so twice as long
    assert busy_share(2e9, 5.0, NIC) == pytest.approx(0.5)
    assert transfer_s(2e9, 2e9, 5.0, NIC) == pytest.approx(0.4)
    assert transfer_s(2e9, 2e9, 10.0, NIC) == math.inf


def test_the_slower_side_decides():
    few = NIC._replace(ports=1)
    assert transfer_s(2e9, 2e9, 4.0, NIC, few) == transfer_s(2e9, 2e9, 4.0, few)
    assert transfer_s(2e9, 2e9, 4.0, few) > transfer_s(2e9, 2e9, 4.0, NIC)
