"""What can be rented: every priced GPU in the sizes that are sold, and where to rent what won."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from guide.catalog import load
from guide.cli.app import app
from guide.cluster.imagined import RENTED_NODES, rentable
from guide.cluster.inventory import read_inventory
from guide.errors import SpecError
from guide.report.renting import left_out, offers
from tests.handmade import GROUP

CATALOG = load()


def test_every_priced_gpu_is_offered_in_the_sizes_that_are_sold():
    pools = read_inventory(rentable(CATALOG), [], CATALOG).pools
    found = {(pool.gpu.name, pool.gpus_per_node) for pool in pools if pool.gpu}
    sold = {(name, size) for name in CATALOG.prices for size in CATALOG.node_sizes[name]}
    assert found == sold
    assert all(len(pool.free_gpus_by_node) == RENTED_NODES for pool in pools)
    assert not [note for pool in pools for note in pool.notes]  # labels tell the sizes apart


def test_a_gpu_is_offered_or_named_as_unpriced():
    named = left_out(CATALOG)
    for name in CATALOG.gpus:
        assert (name in CATALOG.prices) or (name in named)


def test_offers_carry_just_what_a_node_of_the_answer_has():
    found = offers(GROUP, CATALOG)  # of 8 x H100
    assert found
    assert {(one.gpu, one.gpus, one.spot) for one in found} == {("H100-SXM", 8, False)}
    assert [one.usd_per_h for one in found] == sorted(one.usd_per_h for one in found)
    assert len({(one.provider, one.instance_type) for one in found}) == len(found)


def test_every_instance_of_the_catalogue_says_what_it_carries():
    for prices in CATALOG.price_lists:
        for rows in prices.instances.values():
            assert all(row.gpu in CATALOG.gpus and row.gpus for row in rows)


@pytest.fixture(scope="module")
def rented() -> str:
    words = ("--model", "openai/gpt-oss-20b", "--rps", "1", "--rent")
    found = CliRunner().invoke(app, ["plan", *words], env={"COLUMNS": "200"})
    assert found.exit_code == 0, found.output
    return found.output


def test_a_founder_is_told_what_to_rent_and_where(rented: str):
    assert "Where to rent a node" in rented
    assert "Not offered, since no price is known" in rented
    assert "GPU pools" not in rented  # all that can be rented is no list to read


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--gpu", "8xH200"), "--gpu and --rent both name the GPUs"),
        (("--pods", "pods.yaml"), "--rent asks about no cluster"),
    ],
)
def test_one_source_of_gpus_is_enough(more: tuple[str, ...], says: str):
    words = ("--model", "openai/gpt-oss-20b", "--rps", "1", "--rent", *more)
    with pytest.raises(SpecError, match=says):
        CliRunner().invoke(app, ["plan", *words], catch_exceptions=False)
