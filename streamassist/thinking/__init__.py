"""Ways of taking notes while watching, by name."""
from streamassist.thinking.base import Noted, Thinking, with_notes
from streamassist.thinking.segment_notes import SegmentNotes
from streamassist.thinking.streaming_notes import StreamingNotes

__all__ = ["METHODS", "Noted", "Thinking", "with_notes"]

METHODS: dict[str, type[Thinking]] = {
    "none": Thinking, "streaming_notes": StreamingNotes, "segment_notes": SegmentNotes
}
