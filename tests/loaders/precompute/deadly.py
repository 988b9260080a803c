"""amix, and a kill at one chosen moment: before or after a call that parent or worker makes.

Environment: WHERE = "PROCESS EVENT NUMBER VICTIM", where VICTIM is self or parent; STRUCK = a file that is made just
before the kill. An EVENT of messages may name the kind of message: `received:done`. Workers are spawned from this same
script, as `__mp_main__`.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PROCESS, EVENT, NUMBER, VICTIM = os.environ["WHERE"].split()
EVENT, _, KIND = EVENT.partition(":")
COUNT = itertools.count(1)


def strike(message: object = None) -> None:
    """Kill, if this is the call that was meant."""
    if KIND and not (isinstance(message, tuple) and message[0] == KIND):
        return
    if next(COUNT) != int(NUMBER):
        return
    Path(os.environ["STRUCK"]).touch()
    os.kill(os.getpid() if VICTIM == "self" else os.getppid(), signal.SIGKILL)
    time.sleep(30)  # the rest of this process must not go on


def strike_before(owner: Any, name: str) -> None:  # Any: a module or a class
    """Strike before each call of the function `name` of `owner`; a message is its last argument."""
    call: Callable[..., Any] = getattr(owner, name)

    def perform(*arguments: Any, **named: Any) -> Any:  # Any: whatever the call takes
        strike(arguments[-1] if arguments else None)
        return call(*arguments, **named)

    setattr(owner, name, perform)


def strike_after_receiving() -> None:
    """Strike whenever a message has come."""
    receive = Connection.recv

    def received(connection: Any) -> Any:  # Any: the messages are what they are
        message = receive(connection)
        strike(message)
        return message

    name = "recv"
    setattr(Connection, name, received)


if PROCESS == {"__main__": "parent", "__mp_main__": "worker"}[__name__]:
    match EVENT:
        case "start":
            strike_before(BaseProcess, "start")
        case "waits":
            strike_before(Connection, "poll")
        case "sends":
            strike_before(Connection, "send")
        case "received":
            strike_after_receiving()
        case "computes":
            import onnxruntime

            strike_before(onnxruntime.InferenceSession, "run")
        case "fsync" | "replace":
            strike_before(os, EVENT)
        case _:
            sys.exit(f"no such event: {EVENT}")

if __name__ == "__main__":
    from amix.cli import main

    assert multiprocessing.parent_process() is None
    main(prog_name="amix")
