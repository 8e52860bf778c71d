#!/usr/bin/env python3
"""Makes the receipt bundles in this folder with PyNaCl and cbor2 alone, from Protocol/light-client.md. The expected
verdicts are written by hand below, not asked of any verifier. Deterministic: running it again changes nothing.

    make.py            writes valid/, must-reject/ and vectors.json beside itself
"""
import hashlib
import json
import pathlib

import cbor2
from nacl.signing import SigningKey

HERE = pathlib.Path(__file__).parent
NOW = 1_770_000_000_000
NETWORK = hashlib.sha256(b"a network made in python").digest()


def enc(value):
    return cbor2.dumps(value, canonical=True)


def sha(data):
    return hashlib.sha256(data).digest()


def key(name):
    return SigningKey(sha(name.encode()))


def pub(name):
    return bytes(key(name).verify_key)


def sign(name, domain, payload, network=NETWORK):
    return key(name).sign(b"openledger/1/" + domain + b"\n" + network + payload).signature


def link(name, codec=0x71):
    return cbor2.CBORTag(42, bytes([0, 1, codec, 0x12, 0x20]) + sha(name.encode()))


def amount(number):
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def committee(epoch, seats):
    members = sorted([pub(f"{epoch}/{i}"), pub(f"{epoch}/{i}"), n] for i, n in enumerate(seats))
    return {"v": 1, "epoch": epoch, "members": members}


def names(value):
    """The signing names in the committee's order."""
    by_key = {pub(f"{value['epoch']}/{i}"): f"{value['epoch']}/{i}" for i in range(len(value["members"]))}
    return [by_key[member[1]] for member in value["members"]]


def header(height, body, epoch, office, receipts=(), following=None):
    value = {"v": 1, "network": NETWORK, "height": height, "view": height + 3, "epoch": epoch, "parent": sha(b"parent"),
             "time": NOW - 5000, "stateRoot": sha(b"state"), "receiptsRoot": root(list(receipts)),
             "transactionsRoot": sha(b""), "receiptCount": len(receipts), "transactionCount": 0, "proposer": pub("ann"),
             "committee": sha(enc(office)), "dataRoot": bytes(32), "beacon": sha(b"beacon"),
             "supply": {part: amount(n) for n, part in enumerate(["free", "locked", "staked", "treasury", "bridged",
                                                                  "burned"])}}
    value.update(body)
    if following:
        value["next"] = sha(enc(following))
    return value


def certificate(head, office, voters=None, kind="finalize", view=None):
    vote = {"v": 1, "kind": kind, "height": head["height"], "view": view or head["view"], "digest": sha(enc(head))}
    order = names(office)
    voters = range(len(order)) if voters is None else voters
    bits = bytearray((len(order) + 7) // 8)
    for i in voters:
        bits[i // 8] |= 1 << i % 8
    return {**vote, "signers": bytes(bits), "signatures": [sign(order[i], b"vote", enc(vote)) for i in voters]}


def root(leaves):
    """RFC 6962, 2.1, as it is written there."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return sha(b"\0" + leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha(b"\1" + root(leaves[:split]) + root(leaves[split:]))


def path(index, leaves):
    if len(leaves) < 2:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return path(index, leaves[:split]) + [root(leaves[split:])]
    return path(index - split, leaves[split:]) + [root(leaves[:split])]


def receipt(number, **changes):
    value = {
        "v": 1, "network": NETWORK, "allowance": sha(b"allowance"), "sequence": number, "request": sha(b"r%d" % number),
        "expiry": 9000,
        "model": {"weights": link("weights", 0x70), "adapters": [{"cid": link("adapter"), "weight": 1_000_000}],
                  "precision": "f32", "numerics": 1},
        "decoding": {"seed": 2**64 - 1, "temperature": 0, "topK": 40, "topP": 950_000, "minP": 0,
                     "repetitionPenalty": 1_100_000, "frequencyPenalty": -250_000, "presencePenalty": 0,
                     "maxTokens": 256, "extra": sha(b"stop")},
        "prompt": sha(b"prompt"), "answer": sha(b"answer"), "promptTokens": 100, "answerTokens": 28,
        "data": {"snapshots": [link("snapshot")], "indexes": [link("index")], "rows": sha(b"rows"),
                 "retrieval": {"method": "bm25", "revision": 2, "passages": 1, "settings": {}},
                 "contributors": sorted([[pub("x"), 1], [pub("y"), 999_998], [pub("z"), 1]])},
        "price": {"request": b"", "prompt": amount(7), "answer": amount(10**18)}, "amount": amount(700 + 28 * 10**18),
        "total": amount(10**21), "payer": pub("payer"), "payerKey": pub("payer-hot"), "server": pub("server"),
        "serverKey": pub("server-hot")}
    value.update(changes)
    network = value["network"]
    return {"receipt": value, "serverSignature": sign("server-hot", b"receipt", enc(value), network),
            "payerSignature": sign("payer-hot", b"receipt", enc(value), network)}


def bundle(seats=((1, 1, 1, 1), (5, 4, 3, 2, 1)), count=6, index=4, **changes):
    offices = [committee(epoch, each) for epoch, each in enumerate(seats)]
    handovers = []
    for epoch, (office, following) in enumerate(zip(offices, offices[1:])):
        head = header(100 * (epoch + 1), {}, epoch, office, following=following)
        handovers.append({"header": head, "certificate": certificate(head, office), "next": following})
    receipts = [receipt(n, **(changes if n == index else {})) for n in range(count)]
    leaves = [enc(each) for each in receipts]
    head = header(100 * len(seats) + 7, {}, len(seats) - 1, offices[-1], leaves)
    return {"v": 1, "receipt": receipts[index], "proof": {"i": index, "n": count, "path": path(index, leaves)},
            "header": head, "certificate": certificate(head, offices[-1]), "committee": offices[0],
            "handovers": handovers}


def vectors():
    good = bundle()
    office = good["handovers"][-1]["next"]
    yield "valid/two-epochs", good, [], {}
    yield "valid/alone", bundle(seats=((64,),), count=1, index=0), [], {}
    yield "valid/just-a-quorum", {**good, "certificate": certificate(good["header"], office, quorum(office))}, [], {}
    yield "valid/later-view", {**good, "certificate": certificate(good["header"], office, view=10**6)}, [], {}
    yield "valid/fresh-checkpoint", good, [], {"checkpointTime": NOW - 1000, "maxAge": 1000}
    for size in (2, 3, 4, 5, 7, 8, 9):
        yield f"valid/last-of-{size}", bundle(count=size, index=size - 1), [], {}

    def changed(**fields):
        return {**good, **fields}

    few = quorum(office)[1:]
    yield "must-reject/quorum-short", changed(certificate=certificate(good["header"], office, few)), ["certificate"], {}
    yield "must-reject/nullify-kind", changed(certificate=certificate(good["header"], office, kind="notarize")), [
        "certificate"], {}
    yield "must-reject/price", bundle(amount=amount(1)), ["price"], {}
    yield "must-reject/price-overflow", bundle(
        price={"request": b"", "prompt": b"\xff" * 16, "answer": b""}), ["price"], {}
    yield "must-reject/weights", bundle(data={**good["receipt"]["receipt"]["data"], "contributors": [
        [pub("x"), 999_999]]}), ["weights"], {}
    yield "must-reject/weight-zero", bundle(data={**good["receipt"]["receipt"]["data"], "contributors": sorted(
        [[pub("x"), 0], [pub("y"), 1_000_000]])}), ["weights"], {}
    yield "must-reject/network", bundle(network=sha(b"another")), ["network"], {}
    yield "must-reject/wrong-place", changed(proof={**good["proof"], "i": 1}), ["inclusion"], {}
    yield "must-reject/path-too-long", changed(
        proof={**good["proof"], "path": good["proof"]["path"] + [bytes(32)]}), ["inclusion"], {}
    yield "must-reject/stale-checkpoint", good, ["freshness"], {"checkpointTime": NOW - 1001, "maxAge": 1000}
    yield "must-reject/future", good, ["freshness"], {"now": NOW - 5000 - 10_001}
    yield "must-reject/other-checkpoint", good, ["committee"], {"checkpoint": sha(b"?").hex()}
    everything = ["format", "network", "server-signature", "payer-signature", "price", "weights", "inclusion",
                  "certificate", "committee", "freshness"]
    yield "must-reject/unknown-field", changed(note="hello"), everything, {}
    yield "must-reject/float", changed(v=1.0), everything, {}
    yield "must-reject/not-sorted", cbor2.dumps(good), everything, {}
    yield "must-reject/member-twice", changed(committee={**good["committee"], "members": [
        good["committee"]["members"][0]] * 2}), everything, {}
    yield "must-reject/nested-deep", b"\x81" * 4000 + b"\x00", everything, {}


def quorum(office):
    """The fewest members, largest first, that hold more than two thirds."""
    total = sum(member[2] for member in office["members"])
    chosen, seats = [], 0
    for index in sorted(range(len(office["members"])), key=lambda i: -office["members"][i][2]):
        chosen.append(index)
        seats += office["members"][index][2]
        if 3 * seats > 2 * total:
            return sorted(chosen)
    raise ValueError("no quorum")


def main():
    index = []
    for name, value, fails, options in vectors():
        data = value if isinstance(value, bytes) else enc(value)
        file = HERE / f"{name}.cbor"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
        start = sha(enc(value["committee"])).hex() if isinstance(value, dict) else sha(enc(committee(0, (1, 1, 1, 1)))).hex()
        index.append({"file": f"{name}.cbor", "network": NETWORK.hex(), "checkpoint": start, "checkpointTime": None,
                      "maxAge": 1_209_600_000, "now": NOW, "fails": fails, **options})
    text = "[\n" + ",\n".join(json.dumps(each, separators=(",", ":")) for each in index) + "\n]\n"
    (HERE / "vectors.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
