"""What an error says, in one line."""


def reason(error: BaseException) -> str:
    """The first line of the error's text, or the last where the text holds a traceback, as Ray's often do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if any(line.startswith('File "') for line in lines) else 0]
