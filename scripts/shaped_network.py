"""Two network namespaces joined by a packet router that has latency, jitter, bandwidth, a queue and loss.

Both ends run the TCP of the kernel; between them, this module's own process reads every IP packet from one TUN device
and writes it to the other when it is due. Needs root, the program `ip`, and /dev/net/tun.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

BIN = Path(sys.executable).parent
MTU = 1500

_NETWORK = "10.78.0.0/24"

# Of linux/if_tun.h.
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
#: Longer than any burst, so that packets are dropped by the router and nowhere else.
_DEVICE_QUEUE_PACKETS = 20_000
_LEAST_QUEUE_BYTES = 256 * 1024
#: Packets of one direction that are handled before the other direction has its turn.
_BATCH = 64
#: Seconds within which packets are handled together, and the share of the latency that this may come to.
_TICK, _TICK_SHARE = 200e-6, 0.01
#: What Linux does by itself, written down because hosts differ.
_SETTINGS = (
    "net.ipv4.tcp_rmem=4096 131072 6291456",
    "net.ipv4.tcp_wmem=4096 16384 4194304",
    "net.ipv4.tcp_slow_start_after_idle=1",
    "net.ipv4.tcp_no_metrics_save=1",
    # Router solicitations would be counted as if they were somebody's payload.
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv6.conf.default.disable_ipv6=1",
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a path does to packets, the same both ways but for bandwidth; up is from the client to the provider.

    A packet waits for those before it, takes its bits divided by the bandwidth, half of the round trip, and an extra
    delay uniform in [0, jitter); it never overtakes another. Loss strikes before the queue.
    """

    round_trip_ms: float
    up_mbit: float
    down_mbit: float
    jitter_ms: float = 0.0
    loss: float = 0.0
    #: Bytes that may wait for the bottleneck, beyond which packets are dropped; the default is one round trip's worth.
    queue_bytes: int | None = None
    seed: int = 0

    def queue(self, mbit: float) -> int:
        """Return the bytes that may wait in a direction of this bandwidth."""
        if self.queue_bytes is not None:
            return self.queue_bytes
        return max(_LEAST_QUEUE_BYTES, int(mbit * 1e6 / 8 * self.round_trip_ms / 1e3))


@dataclass(frozen=True)
class Machine:
    """One side: its network namespace, address, interface, and the folder that stands for its disk."""

    namespace: str
    address: str
    interface: str
    folder: Path

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command line that runs a program of this project on the machine."""
        return ["ip", "netns", "exec", self.namespace, str(BIN / program), *arguments]

    def run(self, program: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        """Run a program to its end in the machine's folder; any other exit code ends this process."""
        done = subprocess.run(
            self.command(program, *arguments), cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode not in codes:
            sys.exit(f"{program} {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def sent_bytes(self) -> int:
        """Return the IP bytes that have left the machine, lost ones too."""
        return self._count("tx")

    def received_bytes(self) -> int:
        """Return the IP bytes that have come through to the machine."""
        return self._count("rx")

    def _count(self, way: str) -> int:
        shown = ip("-n", self.namespace, "-s", "-j", "link", "show", "dev", self.interface)
        return int(json.loads(shown)[0]["stats64"][way]["bytes"])


def ip(*arguments: str) -> str:
    """Run `ip` and return what it prints."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def shaped_machines(folder: Path, shape: Shape) -> Iterator[tuple[Machine, Machine]]:
    """Make provider and client joined by a path of this shape, and remove all in the end, after SIGTERM too."""
    mark = os.getpid()
    provider, client = (
        Machine(f"securealign-{name}-{mark}", f"10.78.0.{number}", f"sn{name[0]}{mark}", folder / name)
        for number, name in enumerate(("provider", "client"), 1)
    )
    with ExitStack() as ending:
        ending.enter_context(_ended_by_sigterm())
        devices = []
        for side in (provider, client):
            side.folder.mkdir(exist_ok=True)
            # Before there is one: a signal may come in between.
            ending.callback(subprocess.run, ["ip", "netns", "del", side.namespace], check=False, capture_output=True)
            ip("netns", "add", side.namespace)
            devices.append(_plug(side))
            ending.callback(os.close, devices[-1])
        ending.enter_context(_routed(devices[0], devices[1], shape))
        yield provider, client


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block like an error does, unless the program has its own way to handle it."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit("stopped")


def _plug(side: Machine) -> int:
    """Give the machine its interface, and return the descriptor at the other end of it."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        # Without offloads, TCP hands over packets of the MTU with their checksums, as they would be on a cable.
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", side.interface.encode(), _IFF_TUN | _IFF_NO_PI))
        ip("link", "set", side.interface, "netns", side.namespace)
        for setting in _SETTINGS:
            subprocess.run(["ip", "netns", "exec", side.namespace, "sysctl", "-qw", setting], check=True)
        ip("-n", side.namespace, "link", "set", "lo", "up")
        ip("-n", side.namespace, "address", "add", f"{side.address}/32", "dev", side.interface)
        length = ("mtu", str(MTU), "txqueuelen", str(_DEVICE_QUEUE_PACKETS))
        ip("-n", side.namespace, "link", "set", side.interface, *length, "up")
        # By the route: a namespace's own default may be set to what the host's list allows only.
        ip("-n", side.namespace, "route", "add", _NETWORK, "dev", side.interface, "congctl", "cubic")
    except BaseException:
        os.close(device)
        raise
    return device


@contextmanager
def _routed(provider: int, client: int, shape: Shape) -> Iterator[None]:
    """Run the router in a process of its own, which ends when its standard input does."""
    command = [sys.executable, "-I", __file__, str(provider), str(client), json.dumps(asdict(shape))]
    # In a session of its own, where a Ctrl-C meant for the program does not reach it.
    options: dict[str, Any] = {"pass_fds": (provider, client), "start_new_session": True}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                raise RuntimeError("The router did not start.")
            yield
            if process.poll() is not None:
                raise RuntimeError(f"The router ended with exit code {process.returncode}.")
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


class _Direction:
    """The way from one descriptor to another; packets wait in the order in which they are due."""

    def __init__(self, source: int, target: int, shape: Shape, mbit: float, seed: str) -> None:
        self.source = source
        self.waiting: deque[tuple[float, bytes]] = deque()
        self._target = target
        self._second_per_byte = 8 / (mbit * 1e6)
        self._longest_wait = shape.queue(mbit) * self._second_per_byte
        self._latency = shape.round_trip_ms / 2e3
        self._jitter = shape.jitter_ms / 1e3
        self._loss = shape.loss
        self._random = random.Random(seed)  # noqa: S311
        #: When the bottleneck is free again, and when the last packet arrives.
        self._free = self._last = 0.0

    def take(self) -> bool:
        """Read some packets and set when each is due; returns whether more may be there."""
        now, free, last, draw = time.monotonic(), self._free, self._last, self._random.random
        read, source, append = os.read, self.source, self.waiting.append
        second_per_byte, longest_wait = self._second_per_byte, self._longest_wait
        latency, jitter, loss = self._latency, self._jitter, self._loss
        more = True
        try:
            for _ in range(_BATCH):
                packet = read(source, MTU)
                duration = len(packet) * second_per_byte
                begin = free if free > now else now
                if (loss and draw() < loss) or begin + duration - now > longest_wait:
                    continue
                free = begin + duration
                due = free + latency + jitter * draw() if jitter else free + latency
                last = due if due > last else last
                append((last, packet))
        except BlockingIOError:
            more = False
        self._free, self._last = free, last
        return more

    def give(self, tick: float) -> None:
        """Write the packets that are due, or within a tick."""
        waiting, write, target = self.waiting, os.write, self._target
        if not waiting:
            return
        limit = time.monotonic() + tick
        for _ in range(_BATCH):
            if not waiting or waiting[0][0] > limit:
                return
            write(target, waiting.popleft()[1])


def _route(directions: tuple[_Direction, _Direction], stop: int, tick: float) -> None:
    """Carry packets until `stop` can be read, or is closed."""
    one, other = directions
    descriptors = (one.source, other.source, stop)
    while True:
        due = min((way.waiting[0][0] for way in directions if way.waiting), default=None)
        # Not poll or epoll: their timeouts are whole milliseconds.
        wait = None if due is None else max(0.0, due - time.monotonic())
        ready = select.select(descriptors, (), (), wait)[0]
        if stop in ready:
            return
        more = False
        for way in directions:
            if way.source in ready:
                more = way.take() or more
        one.give(tick)
        other.give(tick)
        if tick and not more:
            # What comes meanwhile is handled at once, instead of waking up for each packet.
            time.sleep(tick)


def _main(arguments: list[str]) -> None:
    """Route between two descriptors until standard input ends."""
    provider, client, shape = int(arguments[0]), int(arguments[1]), Shape(**json.loads(arguments[2]))
    with suppress(PermissionError):
        # Packets are late when the parties compute on all cores; this process hardly ever runs for long.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    # Nothing here has cycles, and a pause would be latency.
    gc.disable()
    up = _Direction(client, provider, shape, shape.up_mbit, f"up {shape.seed}")
    down = _Direction(provider, client, shape, shape.down_mbit, f"down {shape.seed}")
    longest_tick = shape.round_trip_ms / 1e3 * _TICK_SHARE
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    _route((up, down), sys.stdin.fileno(), min(_TICK, longest_tick))


if __name__ == "__main__":
    _main(sys.argv[1:])
