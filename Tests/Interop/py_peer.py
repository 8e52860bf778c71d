#!/usr/bin/env python3
"""A py-libp2p peer to test against: libp2p written by others. Every event is one JSON line on stdout.

  py_peer.py --seed alice --topic t1                    listens on a free port of 127.0.0.1, prints {"ev": "listening", ...}
  py_peer.py --connect MADDR --ping 5 --identify        dials first

stdin accepts commands while running (one per line):
  pub TOPIC N SIZE | connect MADDR | ping PEERID N | put KEY VAL | get KEY | provide KEY | find KEY
  findpeer PEERID | rt | peers | mesh | quit
with --bitswap also: add SIZE SEED CHUNK_KIB (a file of pseudo-random bytes; prints its root CID and sha256)
  and fetch ROOT_CID PEERID SECONDS (prints size, sha256 and seconds)"""
import argparse, hashlib, json, logging, os, random, signal, sys, time
import trio, multiaddr
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as new_x25519
from libp2p.custom_types import TProtocol
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE, Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import Yamux, PROTOCOL_ID as YAMUX
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.host.ping import PingService
from libp2p.identity.identify.identify import ID as IDENTIFY, parse_identify_response
from libp2p.kad_dht.kad_dht import KadDHT, DHTMode
from libp2p.records.validator import Validator
from libp2p.tools.anyio_service import background_trio_service
from libp2p.bitswap.client import BitswapClient
from libp2p.bitswap.dag import MerkleDag
from libp2p.bitswap import MemoryBlockStore, cid_to_text, parse_cid

MESH = {v: TProtocol("/meshsub/%s" % v) for v in ("1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "2.0.0")}
T0 = time.time()

def emit(ev, **kw):
    sys.stdout.write(json.dumps({"t": round(time.time() - T0, 4), "ev": ev, **kw}) + "\n"); sys.stdout.flush()

class AnyValidator(Validator):
    def validate(self, key, value): return None
    def select(self, key, values): return 0

def parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--connect", nargs="*", default=[], help="multiaddr(s) with /p2p/<id> to dial")
    p.add_argument("--host", default="127.0.0.1"); p.add_argument("--port", type=int, default=0)
    p.add_argument("--seed", help="deterministic Ed25519 identity: sha256(seed)")
    p.add_argument("--sec", choices=["noise", "default"], default="noise", help="noise only, or py-libp2p's own list")
    p.add_argument("--mux", choices=["yamux", "default"], default="yamux")
    p.add_argument("--topic", action="append", default=[])
    p.add_argument("--gossip", default="1.2.0,1.1.0", help="meshsub versions offered, in order")
    p.add_argument("--heartbeat", type=float, default=1.0)
    p.add_argument("--nosign", action="store_true", help="strict_signing=False (msgs are neither signed nor verified)")
    p.add_argument("--msgid", choices=["default", "sha256"], default="default", help="from+seqno, or sha256(data) raw 32 bytes")
    p.add_argument("--limit10", action="store_true", help="keep py-libp2p's stock 10 msg/s/peer/topic drop")
    p.add_argument("--publish", type=int, default=0); p.add_argument("--size", type=int, default=1024)
    p.add_argument("--rate", type=float, default=0, help="msg/s, 0 = as fast as possible")
    p.add_argument("--wait-peers", type=int, default=1, help="topic peers to await before --publish")
    p.add_argument("--echo", action="store_true", help="republish 'echo:'+data for every message received")
    p.add_argument("--quiet", action="store_true", help="count messages, no line per message")
    p.add_argument("--dht", choices=["off", "server", "client"], default="off")
    p.add_argument("--ping", type=int, default=0, help="pings to send to each --connect peer")
    p.add_argument("--identify", action="store_true", help="print identify of each --connect peer")
    p.add_argument("--put", nargs=2, metavar=("KEY", "VAL")); p.add_argument("--get"); p.add_argument("--provide"); p.add_argument("--find")
    p.add_argument("--bitswap", action="store_true", help="serve and fetch blocks")
    p.add_argument("--exit-after", type=float, default=0); p.add_argument("--debug", action="store_true")
    return p

async def identify(host, pid):
    s = await host.new_stream(pid, [IDENTIFY])
    buf = b""
    while True:
        try: c = await s.read(65536)
        except Exception: break
        if not c: break
        buf += c
    await s.close()
    m = parse_identify_response(buf)
    return dict(raw_len=len(buf), protocol_version=m.protocol_version, agent=m.agent_version, protocols=list(m.protocols),
        listen=[str(multiaddr.Multiaddr(a)) for a in m.listen_addrs], observed=str(multiaddr.Multiaddr(m.observed_addr)) if m.observed_addr else None,
        key_hex=m.public_key.hex(), signed_peer_record_len=len(m.signedPeerRecord))

class Node:
    def __init__(self, a):
        self.a = a
        kp = create_new_key_pair(hashlib.sha256(a.seed.encode()).digest() if a.seed else None)
        sec = {NOISE: NoiseTransport(kp, noise_privkey=new_x25519().private_key)} if a.sec == "noise" else None
        mux = {TProtocol(YAMUX): Yamux} if a.mux == "yamux" else None
        self.listen = [multiaddr.Multiaddr("/ip4/%s/tcp/%d" % (a.host, a.port))]
        self.host = new_host(key_pair=kp, sec_opt=sec, muxer_opt=mux, listen_addrs=self.listen)
        lim = {} if a.limit10 else dict(spam_protection_enabled=False, eclipse_protection_enabled=False, adaptive_gossip_enabled=False)
        self.gs = GossipSub(protocols=[MESH[v] for v in a.gossip.split(",")], degree=6, degree_low=5, degree_high=12, heartbeat_interval=a.heartbeat,
            heartbeat_initial_delay=0.1, gossip_window=3, gossip_history=5, **lim)
        kw = {} if a.msgid == "default" else dict(msg_id_constructor=lambda m: hashlib.sha256(m.data).digest())
        self.ps = Pubsub(self.host, self.gs, strict_signing=not a.nosign, **kw)
        self.dht = None
        if a.dht != "off":
            self.dht = KadDHT(self.host, DHTMode.SERVER if a.dht == "server" else DHTMode.CLIENT)
            self.dht.validator.add_validator("test", AnyValidator()) if hasattr(self.dht.validator, "add_validator") else self.dht.validator._validators.__setitem__("test", AnyValidator())
        self.bitswap = BitswapClient(self.host, MemoryBlockStore()) if a.bitswap else None
        self.count = 0; self.first = self.last = None

    async def reader(self, topic, task_status):
        sub = await self.ps.subscribe(topic); task_status.started()
        while True:
            m = await sub.get()
            self.count += 1; self.last = time.time(); self.first = self.first or self.last
            me = m.from_id == self.host.get_id().to_bytes()
            if not self.a.quiet:
                d = bytes(m.data)
                emit("msg", topic=topic, own=me, n=self.count, size=len(d), sha256=hashlib.sha256(d).hexdigest()[:16], from_=ID(m.from_id).to_base58() if m.from_id else None,
                    seqno=m.seqno.hex(), signed=bool(m.signature), haskey=bool(m.key), text=d[:64].decode("latin1"))
            if self.a.echo and not me and not m.data.startswith(b"echo:"):
                await self.ps.publish(topic, b"echo:" + m.data)

    async def publish(self, topic, n, size, rate=0.0):
        t = time.time()
        for i in range(n):
            head = b"%s %d " % (self.host.get_id().to_base58()[-6:].encode(), i)
            await self.ps.publish(topic, (head + os.urandom(max(0, size - len(head))))[:max(size, len(head))])
            if rate: await trio.sleep(max(0, t + (i + 1) / rate - time.time()))
        emit("published", topic=topic, n=n, size=size, secs=round(time.time() - t, 4))

    async def connect(self, addr):
        info = info_from_p2p_addr(multiaddr.Multiaddr(addr)); t = time.time()
        await self.host.connect(info); emit("connected", peer=info.peer_id.to_base58(), ms=round((time.time() - t) * 1e3, 2))
        if self.dht: await self.dht.add_peer(info.peer_id)
        return info.peer_id

    async def ping(self, pid, n):
        try: emit("ping", peer=str(pid), rtt_ms=await PingService(self.host).ping(pid, n))
        except Exception as e: emit("error", what="ping", err=repr(e))

    async def do(self, what, *args):
        t = time.time()
        try:
            d = self.dht
            if what == "put": r = await d.put_value(args[0], args[1].encode())
            elif what == "get": r = await d.get_value(args[0]); r = r.decode("latin1") if r else r
            elif what == "provide": r = await d.provide(args[0])
            elif what == "find": r = [(p.peer_id.to_base58(), [str(x) for x in p.addrs]) for p in await d.find_providers(args[0])]
            elif what == "findpeer": p = await d.find_peer(ID.from_base58(args[0])); r = p and [str(x) for x in p.addrs]
            elif what == "rt": r = [p.to_base58() for p in d.routing_table.get_peer_ids()]
            elif what == "peers": r = [p.to_base58() for p in self.host.get_connected_peers()]
            elif what == "mesh": r = {"mesh": {k: [p.to_base58() for p in v] for k, v in self.gs.mesh.items()}, "proto": {p.to_base58(): str(v) for p, v in self.gs.peer_protocol.items()}}
            elif what == "connect": r = str(await self.connect(args[0]))
            elif what == "ping": return await self.ping(ID.from_base58(args[0]), int(args[1]))
            elif what == "add":
                data = random.Random(args[1]).randbytes(int(args[0]))
                root = await MerkleDag(self.bitswap).add_bytes(data, chunk_size=int(args[2]) << 10)
                r = {"root": cid_to_text(root), "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            elif what == "fetch":
                got = await MerkleDag(self.bitswap).fetch_file(parse_cid(args[0]), peer_id=ID.from_base58(args[1]), timeout=float(args[2]))
                data = got[0] if isinstance(got, tuple) else got
                r = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "secs": round(time.time() - t, 3)}
            elif what == "pub": return await self.publish(args[0], int(args[1]), int(args[2]))
            else: r = "unknown command"
            emit(what, args=list(args), result=r, ms=round((time.time() - t) * 1e3, 1))
        except Exception as e: emit("error", what=what, args=list(args), err=repr(e))

    async def stdin(self, scope):
        while True:
            line = await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            if not line: return
            w = line.split()
            if not w: continue
            if w[0] == "quit": scope.cancel(); return
            await self.do(*w)

    async def script(self, scope):
        a = self.a
        for c in a.connect:
            try: pid = await self.connect(c)
            except Exception as e: emit("error", what="connect", addr=c, err=repr(e)); continue
            if a.identify:
                try: emit("identify", peer=pid.to_base58(), **await identify(self.host, pid))
                except Exception as e: emit("error", what="identify", err=repr(e))
            if a.ping: await self.ping(pid, a.ping)
        if a.publish:
            for t in a.topic:
                with trio.move_on_after(20):
                    while len(self.gs.mesh.get(t, ())) < min(a.wait_peers, 6): await trio.sleep(0.05)
                emit("mesh", topic=t, peers=len(self.gs.mesh.get(t, ())))
                await self.publish(t, a.publish, a.size, a.rate)
        for w in ("put", "provide", "get", "find"):
            v = getattr(a, w)
            if v: await self.do(w, *(v if isinstance(v, list) else [v]))
        if a.exit_after: await trio.sleep(a.exit_after); scope.cancel()

    async def run(self):
        a = self.a
        async with self.host.run(listen_addrs=self.listen), trio.open_nursery() as n:
            n.start_soon(self.host.get_peerstore().start_cleanup_task, 60)
            async with background_trio_service(self.ps), background_trio_service(self.gs):
                await self.ps.wait_until_ready()
                if self.bitswap: self.bitswap.set_nursery(n); await self.bitswap.start()
                for t in a.topic: await n.start(lambda topic, task_status=trio.TASK_STATUS_IGNORED: self.reader(topic, task_status), t)
                emit("listening", peer=self.host.get_id().to_base58(), addrs=[str(x) for x in self.host.get_addrs()], protocols=[str(p) for p in self.host.get_mux().get_protocols() if p])
                with trio.CancelScope() as scope, trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as sigs:
                    async def onsig():
                        async for _ in sigs: scope.cancel(); return
                    async with trio.open_nursery() as m:
                        m.start_soon(onsig); m.start_soon(self.stdin, scope)
                        if self.dht:
                            async with background_trio_service(self.dht): await self.script(scope); await trio.sleep_forever()
                        else: await self.script(scope); await trio.sleep_forever()
                el = (self.last - self.first) if self.count > 1 else 0
                emit("done", received=self.count, secs=round(el, 4), per_s=round((self.count - 1) / el, 1) if el else None)
                sys.stdout.flush(); os._exit(0)

def main():
    a = parser().parse_args()
    logging.basicConfig(level=logging.DEBUG if a.debug else getattr(logging, os.environ.get("LOGLEVEL", "ERROR")), stream=sys.stderr)
    logging.getLogger("libp2p").setLevel(logging.DEBUG if a.debug else getattr(logging, os.environ.get("LOGLEVEL", "ERROR")))
    trio.run(Node(a).run)

if __name__ == "__main__": main()
