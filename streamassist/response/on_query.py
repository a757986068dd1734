"""Speak only when asked."""
from dataclasses import dataclass

from streamassist.response.base import ResponsePolicy


@dataclass
class OnQuery(ResponsePolicy):
    pass
