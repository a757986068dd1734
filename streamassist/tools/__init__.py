"""Tools that a question may send for; none is on unless it is named."""
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamassist.clock import Clock
from streamassist.errors import StreamAssistError
from streamassist.tools.base import Aside, Errand, Tool
from streamassist.tools.look_again import LookAgain
from streamassist.tools.read_text import ReadText
from streamassist.tools.recall_clip import RecallClip
from streamassist.tools.search_memory import SearchMemory

if TYPE_CHECKING:
    from streamassist.delegate import Delegate

TOOLS: dict[str, type[Tool]] = {
    tool.name: tool for tool in (SearchMemory, LookAgain, ReadText, RecallClip)
}
NONE, ALL = "none", "all"


def make_tools(names: str) -> tuple[Tool, ...]:
    """"none", "all", or names separated by commas; raises StreamAssistError for others."""
    if names in (NONE, ALL):
        return tuple(tool() for tool in TOOLS.values()) if names == ALL else ()
    chosen = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in chosen:
        if name not in TOOLS:
            raise StreamAssistError(
                f"--tools {name!r} is unknown; choose {NONE}, {ALL}, or of: {', '.join(TOOLS)}."
            )
    return tuple(TOOLS[name]() for name in chosen)


@dataclass(frozen=True)
class Helpers:
    """What a conversation may use beside the model: nothing unless it is named."""

    tools: tuple[Tool, ...] = ()
    delegate: "Delegate | None" = None
    _aside: Aside = field(default_factory=lambda: Aside("tools"), repr=False)

    def errand(self, question: str, clock: Clock) -> Errand:
        """What a question wants of the tools, and whether it names the delegate."""
        hard = self.delegate.asked(question) if self.delegate else None
        question = hard or question
        wanted = [tool for tool in self.tools if tool.wants(question)]
        return Errand(question, wanted, self._aside, clock, hard=hard is not None)
