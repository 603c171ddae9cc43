"""Recordings of messages on topics: ROS 2 bags (MCAP, SQLite), ROS 1 bags, Foxglove MCAP. One bag is one episode."""

from cosmos_ops.logs.bags.reader import BagReader

__all__ = ["BagReader"]
