#!/usr/bin/env python3
"""py-libp2p measured as `openledger bench` measures us, each peer in a process of its own on loopback. Prints one JSON object.

  bench_peer.py handshakes SECONDS       TCP, multistream, Noise, multistream, Yamux: one at a time, then 16 at once
                                         (no identify: host.connect adds it and a constant 250 ms, shown beside)
  bench_peer.py stream SECONDS           MB/s (10^6 bytes) of 64 KiB writes on one stream, counted where they arrive
  bench_peer.py gossip SECONDS PEERS     the highest rate of 1 KiB messages with all delivered by the plan's end + 0.25 s

It ends its children and itself when its stdin ends or its time is over. `server` and `node` are the children."""
import json, logging, os, signal, struct, subprocess, sys, threading, time
import trio, multiaddr
from importlib.metadata import version
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as new_x25519
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE, Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import Yamux, PROTOCOL_ID as YAMUX
from libp2p.transport.tcp.tcp import TCP
from py_peer import Node, emit, parser

NAME = "py-libp2p " + version("libp2p")
SINK = TProtocol("/openledger/bench/stream/1")
TOPIC = "bench"
MESSAGE, CHUNK, AT_ONCE = 1024, 64 * 1024, 16
CHILDREN = []

class Fault(Exception): pass

# --- Peers

def make_host():
    listen = [multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]
    pair = create_new_key_pair()
    noise = NoiseTransport(pair, noise_privkey=new_x25519().private_key)
    return new_host(key_pair=pair, sec_opt={NOISE: noise}, muxer_opt={TProtocol(YAMUX): Yamux}, listen_addrs=listen), listen

async def until_stdin_ends(scope):
    while await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True): pass
    scope.cancel()

async def server():
    """Takes connections, and on SINK streams counts what arrives; says so a few times a second."""
    host, listen = make_host()
    total = 0
    async def sink(stream):
        nonlocal total
        while True:
            try: data = await stream.read(CHUNK)
            except Exception: return
            if not data: return
            total += len(data)
    async def tell():
        last = -1
        while True:
            await trio.sleep(0.1)
            if total != last:
                last = total
                emit("bytes", total=total, at=time.monotonic())
    host.set_stream_handler(SINK, sink)
    async with host.run(listen_addrs=listen), trio.open_nursery() as nursery:
        nursery.start_soon(until_stdin_ends, nursery.cancel_scope)
        nursery.start_soon(tell)
        emit("listening", addrs=[str(a) for a in host.get_addrs()])
    os._exit(0)

class GossipNode(Node):
    """py_peer's node: counts the messages of a trial and publishes at a pace."""
    def __init__(self):
        super().__init__(parser().parse_args(["--topic", TOPIC, "--gossip", "1.1.0", "--quiet"]))
        self.counts = {}

    async def reader(self, topic, task_status):
        sub = await self.ps.subscribe(topic)
        task_status.started()
        me = self.host.get_id().to_bytes()
        while True:
            message = await sub.get()
            if message.from_id == me: continue
            trial = struct.unpack(">Q", bytes(message.data[:8]))[0]
            self.counts[trial] = self.counts.get(trial, 0) + 1

    async def do(self, what, *args):
        if what == "trial":
            trial, count, rate = int(args[0]), int(args[1]), float(args[2])
            begin, sent, late = time.monotonic(), 0, count / rate * 2 + 1
            while sent < count and time.monotonic() - begin < late:
                wait = begin + sent / rate - time.monotonic()
                await trio.sleep(max(0, wait))
                await self.ps.publish(TOPIC, struct.pack(">QQ", trial, sent) + b"o" * (MESSAGE - 16))
                sent += 1
            emit("published", trial=trial, n=sent)
        elif what == "count": emit("count", trial=int(args[0]), n=self.counts.get(int(args[0]), 0))
        elif what == "meshed": emit("meshed", n=len(self.gs.mesh.get(TOPIC, ())))
        else: await super().do(what, *args)

    async def stdin(self, scope):
        await super().stdin(scope)
        scope.cancel()

# --- Children

class Child:
    def __init__(self, *arguments):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        CHILDREN.append(self.process)
        self.events, self.news = [], threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            try: event = json.loads(line)
            except ValueError: continue
            with self.news:
                self.events.append(event)
                self.news.notify_all()
        with self.news:
            self.events.append({"ev": "ended"})
            self.news.notify_all()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def wait(self, name, seconds=20, fits=lambda event: True):
        end = time.monotonic() + seconds
        with self.news:
            while True:
                for index, event in enumerate(self.events):
                    if event["ev"] == name and fits(event): return self.events.pop(index)
                    if event["ev"] in ("ended", "error"): raise Fault("a peer failed: %s" % event)
                if time.monotonic() >= end: raise Fault("no %s in %d s" % (name, seconds))
                self.news.wait(end - time.monotonic())

    def ask(self, line, name, fits=lambda event: True, seconds=20):
        self.tell(line)
        return self.wait(name, seconds, fits)

def end_children():
    for process in CHILDREN:
        try: process.kill()
        except OSError: pass
    for process in CHILDREN: process.wait()

# --- Measurements

async def handshakes(address, seconds):
    host, listen = make_host()
    info = info_from_p2p_addr(multiaddr.Multiaddr(address))
    upgrader = host.get_network().upgrader
    failed = 0
    async def measure(width):
        nonlocal failed
        done, end = 0, trio.current_time() + seconds
        async def again():
            nonlocal done, failed
            while trio.current_time() < end:
                try:
                    with trio.fail_after(10):
                        raw = await TCP().dial(info.addrs[0])
                        secure = await upgrader.upgrade_security(raw, True, info.peer_id)
                        await upgrader.upgrade_connection(secure, info.peer_id)
                        done += 1
                        await secure.close()
                except Exception:
                    failed += 1
                    await trio.sleep(0.005)
        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(width): nursery.start_soon(again)
        return round(done / (trio.current_time() - begin), 1)
    async with host.run(listen_addrs=listen):
        alone, together = await measure(1), await measure(AT_ONCE)
        done, begin = 0, trio.current_time()
        while trio.current_time() - begin < min(seconds, 2):
            await host.connect(info)
            done += 1
            await host.get_network().close_peer(info.peer_id)
        connect = round(done / (trio.current_time() - begin), 1)
    return dict(sequential_per_second=alone, concurrent_per_second=together, concurrency=AT_ONCE, failed=failed, connect_per_second=connect,
        measured="TCP, Noise and Yamux without identify; connect is host.connect, with identify")

async def stream(child, address, seconds):
    host, listen = make_host()
    info = info_from_p2p_addr(multiaddr.Multiaddr(address))
    data = b"o" * CHUNK
    async with host.run(listen_addrs=listen):
        await host.connect(info)
        out = await host.new_stream(info.peer_id, [SINK])
        with trio.move_on_after(seconds):
            while True: await out.write(data)
    with child.news: told = [(e["at"], e["total"]) for e in child.events if e["ev"] == "bytes"]
    if len(told) < 2: raise Fault("nothing arrived")
    (t0, b0), (t1, b1) = told[0], told[-1]
    return dict(stream_mb_per_second=round((b1 - b0) / 1e6 / (t1 - t0), 1), message_bytes=CHUNK)

def attempt(nodes, trial, rate, seconds):
    """Why the trial does not hold; None where it does."""
    count = max(1, int(rate * seconds))
    planned, begin = count / rate, time.monotonic()
    nodes[0].tell("trial %d %d %f" % (trial, count, rate))
    mine = lambda event: event["trial"] == trial
    def missing(of): return sum(of - node.ask("count %d" % trial, "count", mine)["n"] for node in nodes[1:])
    time.sleep(planned)
    while True:
        left = missing(count)
        if left <= 0:
            nodes[0].wait("published", 30, mine)
            return None
        if time.monotonic() - begin > planned + max(0.25, planned / 10): break
        time.sleep(0.02)
    published = nodes[0].wait("published", 30, mine)["n"]
    last, end = None, time.monotonic() + 5
    while last != (last := missing(published)) and time.monotonic() < end: time.sleep(0.5)
    return "loss" if last > 0 else "backlog"

def gossip(seconds, count):
    nodes = [Child("node") for _ in range(count)]
    addresses = [node.wait("listening", 60)["addrs"][0] for node in nodes]
    for index, node in enumerate(nodes):
        for address in addresses[index + 1:]: node.ask("connect " + address, "connected")
    end = time.monotonic() + 30
    while any(node.ask("meshed", "meshed")["n"] < count - 1 for node in nodes):
        if time.monotonic() > end: raise Fault("no mesh of %d peers in 30 s" % count)
        time.sleep(0.1)
    span, begin = min(3, max(0.5, seconds / 8)), time.monotonic()
    highest, lowest, again, why, trials = 0.0, None, None, None, 0
    while trials < 24 and time.monotonic() - begin < max(10, 3 * seconds):
        if again: rate = again
        elif lowest is None: rate = 2 * highest or 25.0
        elif lowest > 1 and lowest - highest > lowest / 10: rate = (highest + lowest) / 2
        else: break
        trials += 1
        fault = attempt(nodes, trials, rate, span)
        if fault is None: highest, again = max(highest, rate), None
        elif again is None: again, why = rate, fault
        else: lowest, again, why = min(lowest or rate, rate), None, fault
    return dict(messages_per_second=round(highest, 1), deliveries_per_second=round(highest * (count - 1), 1),
        lowest_failed=lowest and round(lowest), failed_by=lowest and why, trials=trials)

def measure(what, seconds, *rest):
    if what == "gossip": return gossip(seconds, int(rest[0]))
    child = Child("server")
    address = child.wait("listening", 60)["addrs"][0]
    if what == "handshakes": return trio.run(handshakes, address, seconds)
    return trio.run(stream, child, address, seconds)

def watch_stdin():
    """A parent that goes takes us along."""
    while sys.stdin.readline(): pass
    end_children()
    os._exit(1)

def main():
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what == "server": return trio.run(server)
    if what == "node": return trio.run(GossipNode().run)
    wanted = {"handshakes": 3, "stream": 3, "gossip": 4}.get(what)
    if wanted is None or len(sys.argv) != wanted:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    seconds = float(sys.argv[2])
    signal.alarm(int(6 * seconds) + 120)
    if not sys.stdin.isatty(): threading.Thread(target=watch_stdin, daemon=True).start()
    status = 0
    try: print(json.dumps({"name": NAME, **measure(what, seconds, *sys.argv[3:])}), flush=True)
    except Exception as fault:
        print("bench_peer: %s" % (fault or repr(fault)), file=sys.stderr)
        status = 1
    end_children()
    os._exit(status)

if __name__ == "__main__": main()
