"""Run a script as the interpreter does: what it raises goes to ``sys.excepthook``, which torchrun's fork does not call."""

import runpy
import sys

sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except Exception:
    sys.excepthook(*sys.exc_info())
    sys.exit(1)
except KeyboardInterrupt:
    sys.excepthook(*sys.exc_info())
    sys.exit(130)
