"""What the drivers share; they run in the SDKs' environment, without this package.

A job comes in on a line, what the SDK understood goes out on another.
"""

import json
import sys


def serve(jobs, tell):
    """Do a job for every line until there are no more; ``tell`` is what to say of an exception."""
    out, sys.stdout = sys.stdout, sys.stderr  # an SDK may print what it likes
    for line in sys.stdin:
        job = json.loads(line)
        try:
            said = {"said": jobs[job.pop("do")](**job)}
        except Exception as error:
            said = {"error": {"type": type(error).__name__, **tell(error)}}
        print(json.dumps(said), file=out, flush=True)
