"""The root of every error that a user can act on.

A subclass lives beside the code that raises it, carries its whole message, and
sets `exit_code` where a script may want to tell it from others. The command
line prints the message without a traceback and exits with that code.
"""

from packshot.redaction import redacted


class PackshotError(Exception):
    """Something the user can mend. The message says what, where and what to do.

    Secrets in the message are hidden when it is shown: many messages carry what a library said.
    """

    exit_code: int = 1

    def __str__(self) -> str:
        return redacted(super().__str__())
