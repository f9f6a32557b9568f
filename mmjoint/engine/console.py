"""What of the log is shown on the console."""

import logging


class ConsoleFilter(logging.Filter):
    """Keep dumps (config, environment, list of hooks) off the console, not out of the log file."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let records of up to 40 lines pass, but no dump."""
        text = record.getMessage()
        return text.count('\n') <= 40 and not text.startswith(('Config:', 'Hooks will', '\n---'))


class ConsoleFormatter(logging.Formatter):
    """Cut lines that fill screens; the log file has them whole."""

    longest = 600

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Format as mmengine does, then cut each line."""
        lines = self._inner.format(record).split('\n')
        return '\n'.join(
            line if len(line) <= self.longest else f'{line[: self.longest]} ... (see the log file)'
            for line in lines
        )


def shorten_console(logger: logging.Logger) -> None:
    """Let a logger's console handlers show no dumps and no endless lines; its file keeps them."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(ConsoleFilter())
            handler.setFormatter(ConsoleFormatter(handler.formatter))
