"""Logging: one line for each call, and with ``attempts=True`` one for each vendor asked.

```python
dispatcher = Dispatcher.from_env(observers=[CallLogging()])
```

``Config(enable_logging=True)`` and ``enable_logging = true`` in a configuration file do the same with its defaults.
"""

from llmdispatcher.dispatcher import CallLogging

__all__ = ["CallLogging"]
