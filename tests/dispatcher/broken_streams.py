"""What the tests of broken streams share: a stage of simulators, of which the first breaks off."""

from llmdispatcher import Config, Dispatcher, Request, RetryPolicy
from llmdispatcher.testing import VendorSimulator

from ..conftest import PATIENCE
from ..matrix.conftest import MODELS, PROMPT, descriptors, leaks, vendor_at, workers
from ..matrix.insides import residue

WORDS = 5
TEXT = "one two three four five six seven eight nine ten"
SAID, REST = "one two three four five", " six seven eight nine ten"
KINDS = ("openai", "anthropic", "google")
REFUSES_PREFILL = "claude-sonnet-5"


class Stage:
    """Two or three simulators, each a vendor of a kind: the first knows the whole text, the others the rest of it.

    Any of them may be silent for ``idle`` seconds in the middle of a stream, the others but the first for ``patience`` before it.
    """

    def __init__(self, *kinds, models=None, idle=PATIENCE, patience=PATIENCE, **config):
        self.simulators = [VendorSimulator(responses=TEXT if not place else REST).start() for place in range(len(kinds))]
        self.outcomes = []
        self.base = workers(), descriptors()
        self.dispatcher = Dispatcher(
            Config(**{"continuation": True, "retry_policy": RetryPolicy(max_retries=0), **config}), observers=[self.outcomes.append]
        )
        for place, (simulator, kind) in enumerate(zip(self.simulators, kinds, strict=True)):
            model = (models or MODELS)[kind]
            limits = {"idle_timeout": idle, "first_byte_timeout": patience if place else PATIENCE}
            self.dispatcher.register_vendor(vendor_at(simulator, kind, name=f"v{place}", model_map={"any": model}, **limits))

    def asked(self, place):
        """What one of them was sent, as the library reads it."""
        return [request.server_request.request for request in self.simulators[place].requests]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.dispatcher.close()
        for simulator in self.simulators:
            simulator.close()

    def read(self, timeout=2 * PATIENCE, **settings):
        """Text, final response and error of one stream; afterwards nothing is held, and there is one outcome."""
        text, response, error = "", None, None
        settings = {"messages": PROMPT, "max_tokens": 200, **settings}
        try:
            with self.dispatcher.send_streaming(Request("any", **settings), timeout=timeout) as stream:
                for chunk in stream:
                    text += chunk.content
                response = stream.response()
        except Exception as failure:
            error = failure
        assert [] == residue(self.dispatcher)
        assert 1 == len(self.outcomes)
        assert [] == leaks(error, "")
        return text, response, error
