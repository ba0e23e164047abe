"""Several runs in the processes of one launch, whose start costs more than they do.

The argument is a JSON list of ``{"argv": [script, flag, ...], "env": {name: value}}``.
"""

import json
import os
import runpy
import sys

for run in json.loads(sys.argv[1]):
    os.environ.update(run["env"])
    sys.argv = run["argv"]
    runpy.run_path(run["argv"][0], run_name="__main__")
