"""RLDS datasets as TensorFlow Datasets writes them, read without TensorFlow."""

from cosmos_ops.logs.rlds.reader import RLDSReader

__all__ = ["RLDSReader"]
