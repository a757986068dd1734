"""Speak only when asked."""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.response.base import ResponsePolicy


@dataclass
class OnQuery(ResponsePolicy):
    looks_first: ClassVar[bool] = False
