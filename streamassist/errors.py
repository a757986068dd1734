"""The one exception whose message is meant for the user."""


class StreamAssistError(Exception):
    """A mistake or a missing part, told in one sentence that names the mend."""
