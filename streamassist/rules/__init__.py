"""Watch rules in plain words: "Tell me when a dog appears".

A rule is checked by asking the model whether its sentence holds now (a yes/no probe). Rules take
turns, so many of them cost no more per frame than a few; each one's last check is kept and shown.
"""
from streamassist.rules.book import MAX_RULES, RuleBook
from streamassist.rules.parse import Parsed, parse
from streamassist.rules.past import spaced, would_have_fired
from streamassist.rules.phrases import condition_of, is_rule
from streamassist.rules.rule import Rule
from streamassist.rules.store import RuleStore

__all__ = [
    "MAX_RULES", "Parsed", "Rule", "RuleBook", "RuleStore", "condition_of", "is_rule", "parse",
    "spaced", "would_have_fired",
]
