"""Response policies by name: METHODS say when to comment, GOALS when a watch rule has come true."""
from streamassist.response.base import GoalPolicy, ResponsePolicy
from streamassist.response.cascade import Cascade
from streamassist.response.change_gate import ChangeGate
from streamassist.response.cue_jump import CueJump
from streamassist.response.drop_valley import DropValley
from streamassist.response.flag_head import FlagHead
from streamassist.response.interval import Interval
from streamassist.response.live_cc import LiveCC
from streamassist.response.mmduet import ScoreSum, TwoHeads
from streamassist.response.no_reply import NoReply
from streamassist.response.on_query import OnQuery
from streamassist.response.scene_condition import SceneCondition
from streamassist.response.sved import SVeD
from streamassist.response.timer import Timer
from streamassist.response.yes_no import GoalYesNo, YesNo

METHODS: dict[str, type[ResponsePolicy]] = {
    "on_query": OnQuery, "cascade": Cascade, "change_gate": ChangeGate, "interval": Interval,
    "live_cc": LiveCC, "sved": SVeD, "drop_valley": DropValley, "score_sum": ScoreSum,
    "flag_head": FlagHead, "no_reply": NoReply, "yes_no": YesNo, "timer": Timer,
}
GOALS: dict[str, type[GoalPolicy]] = {
    "yes_no": GoalYesNo, "cue_jump": CueJump, "scene_condition": SceneCondition,
    "two_heads": TwoHeads,
}
