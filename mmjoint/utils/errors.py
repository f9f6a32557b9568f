class UserError(Exception):
    """A mistake that its user can mend, told in one line.

    The message names the file or key, what was expected, what was found and what to do. Command
    line tools print it without a traceback and exit with code 1.
    """
