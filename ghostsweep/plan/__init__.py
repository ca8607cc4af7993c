"""From a sweep to work: planned runs, the compiled programs they need, chunks that fit, shards, and what it costs."""

from ghostsweep.models.sizes import cost
from ghostsweep.plan.chunking import Chunk, chunks, halves, padded, widest
from ghostsweep.plan.expanding import expand, lie_on, may_repeat
from ghostsweep.plan.planned import Plan, require_memory
from ghostsweep.plan.sharding import Shard, shards

__all__ = [
    "Chunk",
    "Plan",
    "Shard",
    "chunks",
    "cost",
    "expand",
    "halves",
    "lie_on",
    "may_repeat",
    "padded",
    "require_memory",
    "shards",
    "widest",
]
