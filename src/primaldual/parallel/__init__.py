"""Attend to a sequence that is split along its length over the processes of a torch.distributed group."""

from primaldual.parallel.attend import attend
from primaldual.parallel.model import sharded
from primaldual.parallel.sharded_attention import ShardedAttention
from primaldual.parallel.traffic import HeadTraffic, Traffic, traffic

__all__ = ["HeadTraffic", "ShardedAttention", "Traffic", "attend", "sharded", "traffic"]
