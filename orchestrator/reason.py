"""What an error says, in one line."""


def reason(error: BaseException | str) -> str:
    """The first line of the error's text, or the last where the text holds a traceback, as Ray's often do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if holds_traceback(error) else 0]


def holds_traceback(error: BaseException | str) -> bool:
    """Whether the error's text says where in which file it was raised."""
    return any(line.lstrip().startswith('File "') for line in str(error).splitlines())
