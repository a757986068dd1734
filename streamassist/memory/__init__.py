"""Memory policies by name."""
from streamassist.memory.attention_sinks import AttentionSinks
from streamassist.memory.base import MemoryPolicy
from streamassist.memory.full import Full
from streamassist.memory.last_n import LastN
from streamassist.memory.random_eviction import RandomEviction
from streamassist.memory.uniform import Uniform

METHODS: dict[str, type[MemoryPolicy]] = {
    "full": Full,
    "last_n": LastN,
    "attention_sinks": AttentionSinks,
    "uniform": Uniform,
    "random": RandomEviction,
}
