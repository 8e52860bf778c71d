#!/usr/bin/env python3
"""Writes py-libp2p-rpc.txt: RPCs as py-libp2p 0.8.1 builds and signs them (pip install libp2p==0.8.1), a name and the
bytes in hexadecimal a line. Deterministic: seeds and sequence numbers are fixed."""
import hashlib, pathlib
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX, signature_validator

key = create_new_key_pair(hashlib.sha256(b"fixture author").digest())
me = ID.from_pubkey(key.public_key)

def message(data, seqno, topic="/openledger/fixture/receipts", with_key=True):
    msg = rpc_pb2.Message(data=data, topicIDs=[topic], from_id=me.to_bytes(), seqno=seqno.to_bytes(8, "big"))
    signature = key.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + msg.SerializeToString())
    if with_key:
        msg.key = key.public_key.serialize()
    msg.signature = signature
    assert signature_validator(msg)
    return msg

out = [f"author {me.to_bytes().hex()}"]
def case(name, rpc): out.append(f"{name} {rpc.SerializeToString().hex()}")

case("publish", rpc_pb2.RPC(publish=[message(b"hello", 1763800000)]))
case("publish-without-key", rpc_pb2.RPC(publish=[message(b"hello", 1763800001, with_key=False)]))
case("publish-empty", rpc_pb2.RPC(publish=[message(b"", 1763800002)]))
case("publish-1KiB-twice", rpc_pb2.RPC(publish=[message(bytes(range(256)) * 4, 1763800003), message(b"x", 1763800004)]))
case("subscribe", rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid="a"),
                                            rpc_pb2.RPC.SubOpts(subscribe=False, topicid="b")],
                              senderRecord=b"\x01\x02\x03"))
ctl = rpc_pb2.ControlMessage(
    ihave=[rpc_pb2.ControlIHave(topicID="a", messageIDs=[b"\x00\xff\x80", b"id2"])],
    iwant=[rpc_pb2.ControlIWant(messageIDs=[b"\xfe"])],
    graft=[rpc_pb2.ControlGraft(topicID="a")],
    prune=[rpc_pb2.ControlPrune(topicID="b", backoff=60, peers=[rpc_pb2.PeerInfo(peerID=me.to_bytes())])])
case("control", rpc_pb2.RPC(control=ctl))
tampered = message(b"hello", 1763800005)
tampered.data = b"hellp"
case("reject-altered-data", rpc_pb2.RPC(publish=[tampered]))
two = message(b"hello", 1763800006)
two.topicIDs.append("second")
case("reject-second-topic", rpc_pb2.RPC(publish=[two]))
pathlib.Path(__file__).with_name("py-libp2p-rpc.txt").write_text("\n".join(out) + "\n")
