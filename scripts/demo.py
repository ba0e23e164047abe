"""Show a trained model in the browser: type, click, read the answer. The page is for this machine alone without --host.

python scripts/demo.py outputs/nli-kogpt2-base-v2
python scripts/demo.py outputs/summarize-kogpt2-base-v2 --host 0.0.0.0 --port 8000
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

import contextlib
import socket
import threading
from dataclasses import dataclass
from importlib.util import find_spec

from transformers.hf_argparser import HfArg

from tasks.arguments.command_line import parse_dataclasses
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.errors import UserError


@dataclass
class DemoArguments:
    """Where the page is served."""

    host: str = HfArg(default="127.0.0.1", help="Address to listen at; 0.0.0.0 shows the page to the whole network.")
    port: int = HfArg(default=7860, help="Port to listen at.")
    task: str | None = HfArg(default=None, help="The task, for a model without a task.json.")
    max_length: int | None = HfArg(default=None, help="Tokens of a whole sequence; the run's by default.")

    def __post_init__(self) -> None:
        """Raises UserError where Gradio is missing, or the address cannot be listened at."""
        if find_spec("gradio") is None:
            raise UserError("the page needs Gradio; install it with: pip install -e '.[demo]'")
        try:
            with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.host, self.port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"--host {self.host} --port {self.port}: {reason}; choose another, such as --port 7861"
            ) from None


def main() -> None:
    """Load the model, and serve its page until Ctrl-C."""
    types = (DemoArguments, GenerationArguments, ModelArguments)
    args, generation_args, model_args, folder = parse_dataclasses(types, __doc__, positional="model_folder")

    # Slow to import, so --help and mistakes in the flags are answered first.
    from tasks.inference import load
    from tasks.showing.kinds import page_of

    model_args.model = folder
    model = load(**vars(model_args), **vars(generation_args), task=args.task, max_length=args.max_length)
    url = page_of(model).launch(server_name=args.host, server_port=args.port, prevent_thread_lock=True)
    print(f"{folder} answers at {url} until Ctrl-C", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # this is how it ends
        threading.Event().wait()


if __name__ == "__main__":
    main()
