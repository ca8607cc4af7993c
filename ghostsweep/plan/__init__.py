"""From a sweep to work: planned runs, the compiled programs they need, chunks that fit, shards, and what it costs."""

from ghostsweep.plan.chunking import Chunk, chunks, halves, padded, widest
from ghostsweep.plan.costs import Cost, cost
from ghostsweep.plan.expanding import expand, lie_on
from ghostsweep.plan.programs import NOISE, STEPS, deciding, shapes
from ghostsweep.plan.sharding import Shard, shards

__all__ = [
    "NOISE",
    "STEPS",
    "Chunk",
    "Cost",
    "Shard",
    "chunks",
    "cost",
    "deciding",
    "expand",
    "halves",
    "lie_on",
    "padded",
    "shapes",
    "shards",
    "widest",
]
