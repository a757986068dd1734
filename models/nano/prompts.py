"""The words nano was trained on; the adapter must use the same ones."""

OPEN = "<|im_start|>user\n"                          # pinned prompt; frames follow it
CLOSE = "<|im_end|>\n<|im_start|>assistant\n"        # after the question
END = "<|im_end|>"

DESCRIBE = "Describe the picture."
DESCRIBE_VARIANTS = (
    DESCRIBE,
    DESCRIBE,
    "Describe what you see.",
    "What is happening?",
    "What is happening now?",
    "What do you see?",
    "What is going on here?",
    "What does the picture show?",
    "Describe the scene.",
    "What is in the picture?",
    "What can you see right now?",
    "Tell me what you see.",
)
NAME_OBJECT = "Name the main object."
YES_NO = "Is it true now? {statement} Answer yes or no."
PRESENCE_QUESTIONS = (
    "Is there {thing}?",
    "Is there {thing} in the picture?",
    "Do you see {thing}?",
    "Can you see {thing} now?",
)
BEFORE = (   # the scene before the one that is there now
    "What did you see before?",
    "What was there before?",
    "What was there a moment ago?",
    "What did you see a moment ago?",
    "What happened before?",
)
FIRST = ("What did you see first?", "What was there at the start?", "What was there at first?")
EARLIER = (
    "Did {thing} appear earlier?",
    "Was there {thing} earlier?",
    "Did you see {thing} before?",
    "Was there {thing} before?",
)
PRESENCE_STATEMENTS = (
    "{Thing} is there.",
    "{Thing} is visible.",
    "{Thing} appears.",
    "You see {thing}.",
    "There is {thing}.",
)


def yes_no(statement: str) -> str:
    """The probe question of a watch rule; `statement` gets a capital and a full stop."""
    statement = statement.strip().rstrip(".!?")
    return YES_NO.format(statement=statement[:1].upper() + statement[1:] + ".")
