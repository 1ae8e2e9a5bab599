"""Work for processes of their own, which start the sooner the less the module of their work imports."""

import os
import signal

from securealign.errors import ErrorCode, PeerAborted, SuiteError


def add(first, second, channel):
    channel.send(first + second)


def fail(channel):
    raise SuiteError("The plan fails.", hint="Plan again.", code=ErrorCode.PLAN_INFEASIBLE)


def follow(channel):
    raise PeerAborted(ErrorCode.INTERNAL)


def leave(channel):
    os._exit(3)


def stay(channel):
    signal.pause()


def vanish(channel):
    os.kill(os.getpid(), signal.SIGKILL)
