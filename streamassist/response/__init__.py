"""Response policies by name."""
from streamassist.response.base import ResponsePolicy
from streamassist.response.change_gate import ChangeGate
from streamassist.response.flag_head import FlagHead
from streamassist.response.on_query import OnQuery

METHODS: dict[str, type[ResponsePolicy]] = {
    "on_query": OnQuery, "change_gate": ChangeGate, "flag_head": FlagHead
}
