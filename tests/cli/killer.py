"""A process that forks one for each command that is to be killed.

A line of JSON on standard input is a request, one on standard output its answer.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import torch

from dipole.cli import run

torch.set_num_threads(1)
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "shutil.rmtree")


class Moments:
    """An audit hook that counts changes of the file system, and sends this process a signal at one."""

    def __init__(self, at: int | None, number: int) -> None:
        self.at, self.number, self.seen = at, number, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count one."""
        if event in CHANGES or (event == "open" and int(arguments[2]) & os.O_CREAT):
            self.seen += 1
            if self.seen == self.at:
                os.kill(os.getpid(), self.number)


def child(request: dict[str, Any]) -> None:
    moments = Moments(request.get("moment"), request["signal"])
    with open(request["log"], "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.addaudithook(moments)
    code = 70  # an error of ours
    try:
        code = run(request["arguments"])
    finally:
        sys.stdout.flush()
        with open(request["log"] + ".moments", "w") as said:
            said.write(str(moments.seen))
        os._exit(code)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    if request.get("here"):  # so that everything is imported before the first fork
        return {"code": run(request["arguments"])}
    process = os.fork()
    if process == 0:
        child(request)
    if request.get("seconds") is not None:
        time.sleep(request["seconds"])
        os.kill(process, request["signal"])
    status = os.waitpid(process, 0)[1]
    return {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - began}


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
