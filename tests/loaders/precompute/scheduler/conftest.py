"""A real cluster of Ray on loopback."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ray._private.node import Node

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import: no test may reach for the network


class Nodes:
    """A head and one more node, on loopback addresses; the second may be killed and comes back."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        # 127.0.0.1 would be taken for the machine's address in the network, where nothing listens.
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"node_ip_address": "127.0.0.2", "include_dashboard": False, **self._size()},
        )
        self.address: str = self._cluster.address
        self.second = self._add()

    def kill_second(self) -> None:
        """Kill all processes of the second node, as a power cut would."""
        self._cluster.remove_node(self.second, allow_graceful=False)

    def revive_second(self) -> None:
        self.second = self._add()

    def shutdown(self) -> None:
        self._cluster.shutdown()

    def _add(self) -> "Node":
        node: Node = self._cluster.add_node(node_ip_address="127.0.0.3", **self._size())
        return node

    @staticmethod
    def _size() -> dict[str, Any]:
        return {"num_cpus": 1, "object_store_memory": 100_000_000}


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    found = Nodes()
    yield found
    found.shutdown()
