#!/usr/bin/env python3
"""Verifies an openledger receipt bundle offline. Written from Protocol/light-client.md alone: it shares no code with the
node, so that a fault in one of the two shows.

    verify.py FILE [--checkpoint HEX] [--network HEX] [--now MS] [--checkpoint-time MS] [--max-age MS] [--json]
    verify.py --vectors VECTORS.json

Needs cbor2 and one of PyNaCl or cryptography. Exit codes: 0 all checks pass, 1 failed (cannot read, modules missing),
2 usage, 4 refused.
"""
import argparse
import hashlib
import json
import os
import sys
import time

try:
    import cbor2
    try:
        from nacl.bindings import crypto_sign_open as _open
        from nacl.exceptions import BadSignatureError as _Bad

        def raw_verify(key, signature, message):
            try:
                _open(signature + message, key)
                return True
            except (_Bad, ValueError, TypeError):
                return False
    except ImportError:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        def raw_verify(key, signature, message):
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
                return True
            except (InvalidSignature, ValueError):
                return False
except ImportError as missing:
    print(f"verify.py: {missing}. Install: python3 -m pip install cbor2 PyNaCl", file=sys.stderr)
    sys.exit(1)

CHECKS = ["format", "network", "server-signature", "payer-signature", "price", "weights", "inclusion", "certificate",
          "committee", "freshness"]
AGE_MAX_MS = 14 * 24 * 3_600_000
AHEAD_MAX_MS = 10_000
FILE_MAX = 8 << 20
U64 = (1 << 64) - 1


class Refused(Exception):
    pass


# --- Ed25519, strictly: canonical points of the prime-order subgroup only (RFC 8032 arithmetic) ---

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_M1 = pow(2, (P - 1) // 4, P)
IDENTITY = (0, 1, 1, 0)
_points = {}


def _add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _is_identity(p):
    return p[0] % P == 0 and (p[1] - p[2]) % P == 0


def _times(n, p):
    result = IDENTITY
    while n:
        if n & 1:
            result = _add(result, p)
        p = _add(p, p)
        n >>= 1
    return result


def _decode(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * ROOT_M1 % P
    if (x * x - xx) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def is_key(data):
    if data not in _points:
        point = _decode(data)
        _points[data] = point is not None and not _is_identity(point) and _is_identity(_times(ORDER, point))
    return _points[data]


def signature_holds(key, signature, message):
    """Canonical R that is not of small order, S below the group order, and then what the library says."""
    if not is_key(key) or int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    r = _decode(signature[:32])
    if r is None or _is_identity(_times(8, r)):
        return False
    return raw_verify(key, signature, message)


# --- Strict dag-cbor: what decodes must encode to the same bytes ---

def encode(value):
    return cbor2.dumps(value, canonical=True)


def decode(data):
    if len(data) > FILE_MAX:
        raise Refused("larger than 8 MiB")
    try:
        value = cbor2.loads(data)
        same = encode(value) == data
    except Exception as fault:  # whatever a decoder raises on bytes from outside
        raise Refused(f"not cbor: {fault}") from fault
    if not same:
        raise Refused("not canonical dag-cbor")
    return value


class Fields:
    """Each field of a map once, by name and kind; what is left over is refused."""

    def __init__(self, value, name, version=None):
        if type(value) is not dict or any(type(key) is not str for key in value):
            raise Refused(f"{name} is not a map of text keys")
        self.rest, self.name = dict(value), name
        if version is not None and self.uint("v") != version:
            raise Refused(f"{name} is of a version that is not known")

    def take(self, key):
        if key not in self.rest:
            raise Refused(f"{self.name}.{key} is missing")
        return self.rest.pop(key)

    def need(self, condition, key):
        if not condition:
            raise Refused(f"{self.name}.{key} is out of its bounds or of another kind")

    def uint(self, key, most=U64):
        value = self.take(key)
        self.need(type(value) is int and 0 <= value <= most, key)
        return value

    def int64(self, key):
        value = self.take(key)
        self.need(type(value) is int and -(1 << 63) <= value < 1 << 63, key)
        return value

    def bytes(self, key, count=None, most=None):
        value = self.take(key)
        self.need(type(value) is bytes, key)
        self.need(count is None or len(value) == count, key)
        self.need(most is None or len(value) <= most, key)
        return value

    def digest(self, key):
        return self.bytes(key, 32)

    def key(self, key):
        value = self.bytes(key, 32)
        self.need(is_key(value), key)
        return value

    def amount(self, key):
        value = self.bytes(key, most=16)
        self.need(value[:1] != b"\0", key)
        return int.from_bytes(value, "big")

    def text(self, key, most=64):
        value = self.take(key)
        self.need(type(value) is str and len(value.encode()) <= most, key)
        return value

    def list(self, key, most):
        value = self.take(key)
        self.need(type(value) is list and len(value) <= most, key)
        return value

    def link(self, key):
        value = self.take(key)
        self.need(is_link(value), key)
        return value

    def optional(self, key, read):
        return read(key) if key in self.rest else None

    def end(self):
        if self.rest:
            raise Refused(f"{self.name}.{min(self.rest)} is not known")


def is_link(value):
    return (type(value) is cbor2.CBORTag and value.tag == 42 and type(value.value) is bytes and len(value.value) == 37
            and value.value[:2] == b"\0\1" and value.value[2] in (0x55, 0x70, 0x71)
            and value.value[3:5] == b"\x12\x20")


# --- The objects of Protocol/receipts.md and Protocol/batches.md ---

def read_receipt(value):
    f = Fields(value, "Receipt", 1)
    r = {"network": f.digest("network")}
    f.digest("allowance"), f.uint("sequence"), f.digest("request"), f.uint("expiry")
    read_model(f.take("model"))
    read_decoding(f.take("decoding"))
    f.digest("prompt"), f.digest("answer")
    r["promptTokens"], r["answerTokens"] = f.uint("promptTokens", 1 << 32), f.uint("answerTokens", 1 << 32)
    r["contributors"], r["rows"] = read_data(f.take("data"))
    p = Fields(f.take("price"), "PriceSchedule")
    r["price"] = (p.amount("request"), p.amount("prompt"), p.amount("answer"))
    p.end()
    r["amount"], r["total"] = f.amount("amount"), f.amount("total")
    r["payer"], r["payerKey"] = f.key("payer"), f.key("payerKey")
    r["server"], r["serverKey"] = f.key("server"), f.key("serverKey")
    f.end()
    r["signed"] = b"openledger/1/receipt\n" + r["network"] + encode(value)
    return r


def read_model(value):
    f = Fields(value, "ModelUse")
    f.link("weights"), f.optional("owner", f.key), f.optional("tokenizer", f.link), f.optional("template", f.link)
    for item in f.list("adapters", 8):
        a = Fields(item, "AdapterUse")
        a.link("cid"), a.optional("owner", a.key)
        a.need(abs(a.int64("weight")) <= 1_000_000_000, "weight")
        a.end()
    f.optional("fusion", f.text), f.text("precision"), f.uint("numerics")
    f.end()


def read_decoding(value):
    f = Fields(value, "Decoding")
    for key in ("seed", "temperature", "topK", "repetitionPenalty"):
        f.uint(key)
    f.uint("topP", 1_000_000), f.uint("minP", 1_000_000)
    f.int64("frequencyPenalty"), f.int64("presencePenalty")
    f.uint("maxTokens", 1 << 32), f.optional("extra", f.digest)
    f.end()


def read_data(value):
    f = Fields(value, "DataUse")
    f.need(all(map(is_link, f.list("snapshots", 16))), "snapshots")
    f.need(all(map(is_link, f.list("indexes", 16))), "indexes")
    if "retrieval" in f.rest:
        r = Fields(f.take("retrieval"), "Retrieval")
        r.text("method"), r.uint("revision"), r.uint("passages")
        settings = r.take("settings")
        r.need(type(settings) is dict and len(settings) <= 16, "settings")
        for key, number in settings.items():
            r.need(type(key) is str and len(key.encode()) <= 64 and type(number) is int and 0 <= number <= U64,
                   "settings")
        r.end()
    f.optional("query", f.digest)
    rows = f.optional("rows", f.digest)
    contributors = f.list("contributors", 64)
    for item in contributors:
        f.need(type(item) is list and len(item) == 2 and type(item[0]) is bytes and len(item[0]) == 32
               and is_key(item[0]) and type(item[1]) is int and 0 <= item[1] <= 1_000_000, "contributors")
    f.end()
    return contributors, rows


def read_header(value):
    f = Fields(value, "Header", 1)
    h = {"digest": hashlib.sha256(encode(value)).digest()}
    for key in ("network", "parent", "stateRoot", "receiptsRoot", "transactionsRoot", "committee", "dataRoot", "beacon"):
        h[key] = f.digest(key)
    for key in ("height", "view", "epoch"):
        h[key] = f.uint(key)
    h["receiptCount"] = f.uint("receiptCount", 4096)
    f.uint("transactionCount", 4096), f.key("proposer")
    h["time"] = f.int64("time")
    h["next"] = f.optional("next", f.digest)
    f.optional("beaconProof", lambda key: f.bytes(key, 80))
    s = Fields(f.take("supply"), "Supply")
    for key in ("free", "locked", "staked", "treasury", "bridged", "burned"):
        s.amount(key)
    s.end()
    f.end()
    return h


def read_committee(value):
    f = Fields(value, "Committee", 1)
    c = {"digest": hashlib.sha256(encode(value)).digest(), "epoch": f.uint("epoch"), "members": f.list("members", 64)}
    keys, last = set(), b""
    for item in c["members"]:
        f.need(type(item) is list and len(item) == 3 and all(type(i) is bytes and len(i) == 32 for i in item[:2])
               and is_key(item[0]) and is_key(item[1]) and type(item[2]) is int and 1 <= item[2] <= 64, "members")
        f.need(item[0] > last and item[1] not in keys, "members")
        keys.add(item[1])
        last = item[0]
    c["seats"] = sum(item[2] for item in c["members"])
    f.need(1 <= c["seats"] <= 64, "members")
    f.end()
    return c


def read_certificate(value):
    f = Fields(value, "Certificate", 1)
    c = {"kind": f.text("kind"), "height": f.uint("height"), "view": f.uint("view"), "digest": f.digest("digest"),
         "signers": f.bytes("signers", most=8), "signatures": f.list("signatures", 64)}
    f.need(c["kind"] in ("notarize", "nullify", "finalize"), "kind")
    f.need(c["kind"] != "nullify" or c["digest"] == bytes(32), "digest")
    f.need(all(type(s) is bytes and len(s) == 64 for s in c["signatures"]), "signatures")
    f.end()
    return c


def read_handover(value):
    f = Fields(value, "Handover")
    h = {"header": read_header(f.take("header")), "certificate": read_certificate(f.take("certificate")),
         "next": read_committee(f.take("next"))}
    f.end()
    return h


def read_bundle(data):
    f = Fields(decode(data), "ReceiptBundle", 1)
    signed = f.take("receipt")
    s = Fields(signed, "SignedReceipt")
    b = {"leaf": encode(signed), "receipt": read_receipt(s.take("receipt")),
         "serverSignature": s.bytes("serverSignature", 64), "payerSignature": s.bytes("payerSignature", 64)}
    s.end()
    p = Fields(f.take("proof"), "MerkleProof")
    b["index"], b["count"], b["path"] = p.uint("i"), p.uint("n"), p.list("path", 64)
    p.need(all(type(d) is bytes and len(d) == 32 for d in b["path"]), "path")
    p.end()
    b["header"] = read_header(f.take("header"))
    b["certificate"] = read_certificate(f.take("certificate"))
    b["committee"] = read_committee(f.take("committee"))
    b["handovers"] = [read_handover(item) for item in f.list("handovers", 512)]
    f.end()
    return b


# --- The checks ---

def need(condition, reason):
    if not condition:
        raise Refused(reason)


def merkle_root(leaf, index, count, path):
    """RFC 9162, 2.1.3.2; None where the path does not fit the tree."""
    if index >= count:
        return None
    digest, last, rest = hashlib.sha256(b"\0" + leaf).digest(), count - 1, list(path)
    while last:
        if index & 1 or index < last:
            if not rest:
                return None
            sibling = rest.pop(0)
            pair = sibling + digest if index & 1 else digest + sibling
            digest = hashlib.sha256(b"\1" + pair).digest()
        index >>= 1
        last >>= 1
    return None if rest else digest


def check_final(header, certificate, committee):
    need(header["committee"] == committee["digest"] and header["epoch"] == committee["epoch"], "another committee's")
    need(certificate["kind"] == "finalize", "votes that do not finalize")
    need(certificate["digest"] == header["digest"] and certificate["height"] == header["height"]
         and certificate["view"] >= header["view"], "votes for another header")
    members, bits = committee["members"], certificate["signers"]
    need(len(bits) == (len(members) + 7) // 8, "signer bits of another length")
    signers = [i for i in range(len(bits) * 8) if bits[i // 8] >> (i % 8) & 1]
    need(all(i < len(members) for i in signers), "a signer who is no member")
    need(len(signers) == len(certificate["signatures"]), "not one signature a signer")
    seats = sum(members[i][2] for i in signers)
    need(3 * seats > 2 * committee["seats"], f"{seats} of {committee['seats']} seats are no quorum")
    vote = {"v": 1, "kind": "finalize", "height": certificate["height"], "view": certificate["view"],
            "digest": certificate["digest"]}
    message = b"openledger/1/vote\n" + header["network"] + encode(vote)
    for i, signature in zip(signers, certificate["signatures"]):
        need(signature_holds(members[i][1], signature, message), f"signature of member {i} is not valid")


def check_network(b, o):
    for network in [b["receipt"]["network"], b["header"]["network"], *(h["header"]["network"] for h in b["handovers"])]:
        need(network == o.network, f"is of network {network.hex()}, not {o.network.hex()}")
    return f"network {o.network.hex()}"


def check_server(b, o):
    r = b["receipt"]
    need(signature_holds(r["serverKey"], b["serverSignature"], r["signed"]), "the server's signature is not valid")
    return "signed by the server"


def check_payer(b, o):
    r = b["receipt"]
    need(signature_holds(r["payerKey"], b["payerSignature"], r["signed"]), "the payer's signature is not valid")
    return "signed by the payer"


def check_price(b, o):
    r = b["receipt"]
    request, prompt, answer = r["price"]
    cost = request + prompt * r["promptTokens"] + answer * r["answerTokens"]
    need(cost < 1 << 128, "the price is more money than there can be")
    need(cost == r["amount"], f"the tokens cost {cost} by the price schedule, not {r['amount']}")
    need(r["total"] >= r["amount"], "the running total is below the amount")
    return f"{r['promptTokens']} and {r['answerTokens']} tokens for {cost} units of 10^-18 OPEN"


def check_weights(b, o):
    contributors, rows = b["receipt"]["contributors"], b["receipt"]["rows"]
    if not contributors:
        need(rows is None, "names rows but no contributors")
        return "no data of others was used"
    need(rows is not None, "names contributors but no rows")
    total = sum(share for _, share in contributors)
    need(total == 1_000_000, f"the contributors' shares add up to {total}, not 1000000")
    accounts = [account for account, _ in contributors]
    need(all(share for _, share in contributors) and all(a < b for a, b in zip(accounts, accounts[1:])),
         "a contributor without a share, twice, or out of order")
    return f"{len(contributors)} contributors, 1000000 parts"


def check_inclusion(b, o):
    root = merkle_root(b["leaf"], b["index"], b["count"], b["path"])
    need(b["count"] == b["header"]["receiptCount"] and root == b["header"]["receiptsRoot"],
         f"the receipt is not in batch {b['header']['height']}")
    return f"receipt {b['index']} of {b['count']} in batch {b['header']['height']}"


def check_certificate(b, o):
    committee = b["handovers"][-1]["next"] if b["handovers"] else b["committee"]
    check_final(b["header"], b["certificate"], committee)
    return f"certified by {len(b['certificate']['signatures'])} of {len(committee['members'])} members"


def check_committee(b, o):
    committees = [b["committee"], *(h["next"] for h in b["handovers"])]
    start = next((i for i, c in enumerate(committees) if c["digest"] == o.checkpoint), None)
    need(start is not None, "the file does not begin at the checkpoint; take a newer one, or a bundle from it")
    current = committees[start]
    for handover in b["handovers"][start:]:
        header, following = handover["header"], handover["next"]
        need(header["network"] == o.network, "a hand-over of another network")
        check_final(header, handover["certificate"], current)
        need(header["next"] == following["digest"] and following["epoch"] == current["epoch"] + 1,
             "a hand-over to another committee")
        current = following
    return f"committee of epoch {current['epoch']}, {len(b['handovers']) - start} hand-overs after the checkpoint"


def check_freshness(b, o):
    need(b["header"]["time"] <= o.now + AHEAD_MAX_MS, "the batch is from the future: is the clock right?")
    if o.checkpoint_time is not None:
        need(o.now <= o.checkpoint_time + o.max_age, "the checkpoint is too old; take a newer one from several peers")
    return f"batch of {b['header']['time']} ms since 1970"


JUDGES = dict(zip(CHECKS[1:], [check_network, check_server, check_payer, check_price, check_weights, check_inclusion,
                               check_certificate, check_committee, check_freshness]))


def verify(data, options):
    """One verdict a check. `options.checkpoint` and `.network` may be None: then the file's own are taken."""
    try:
        bundle = read_bundle(data)
    except Refused as fault:
        unread = "not checked, the file cannot be read"
        return [{"check": c, "pass": False, "reason": f"not a receipt bundle: {fault}" if c == "format" else unread}
                for c in CHECKS]
    options.network = options.network or bundle["receipt"]["network"]
    options.checkpoint = options.checkpoint or bundle["committee"]["digest"]
    verdicts = [{"check": "format", "pass": True, "reason": "version 1, canonical dag-cbor"}]
    for check, judge in JUDGES.items():
        try:
            verdicts.append({"check": check, "pass": True, "reason": judge(bundle, options)})
        except Refused as fault:
            verdicts.append({"check": check, "pass": False, "reason": str(fault)})
    return verdicts


def run_vectors(path):
    """Compares with the verdicts that a producer froze. Returns the number of disagreements."""
    folder, wrong = os.path.dirname(os.path.abspath(path)), 0
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    for vector in vectors:
        with open(os.path.join(folder, vector["file"]), "rb") as file:
            data = file.read()
        options = argparse.Namespace(
            network=bytes.fromhex(vector["network"]), checkpoint=bytes.fromhex(vector["checkpoint"]),
            checkpoint_time=vector["checkpointTime"], max_age=vector["maxAge"], now=vector["now"])
        fails = [v["check"] for v in verify(data, options) if not v["pass"]]
        if fails != vector["fails"]:
            print(f"{vector['file']}: fails {fails}, expected {vector['fails']}")
            wrong += 1
    print(f"{len(vectors)} vectors, {wrong} disagreements")
    return wrong if vectors else 1


def digest_argument(text):
    value = bytes.fromhex(text)
    if len(value) != 32:
        raise ValueError("64 hexadecimal digits")
    return value


def main():
    parser = argparse.ArgumentParser(
        description="Verify an openledger receipt bundle offline, trusting nobody but a checkpoint.",
        epilog="example: verify.py receipt.bundle --checkpoint 2a1f…")
    parser.add_argument("file", nargs="?", help="the bundle (dag-cbor)")
    parser.add_argument("--checkpoint", type=digest_argument, help="digest of a committee that you trust")
    parser.add_argument("--network", type=digest_argument, help="hash of the network's genesis")
    parser.add_argument("--checkpoint-time", type=int, metavar="MS", help="when the checkpoint was known to be good")
    parser.add_argument("--max-age", type=int, metavar="MS", default=AGE_MAX_MS, help="how old it may be")
    parser.add_argument("--now", type=int, metavar="MS", help="milliseconds since 1970; default: the clock")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--vectors", metavar="JSON", help="check a vector index instead of a file")
    options = parser.parse_args()
    if (options.file is None) == (options.vectors is None):
        parser.error("name a bundle file, or --vectors")
    try:
        if options.vectors:
            return 1 if run_vectors(options.vectors) else 0
        with open(options.file, "rb") as file:
            data = file.read(FILE_MAX + 1)
    except (OSError, ValueError, KeyError) as fault:
        print(f"verify.py: {fault}", file=sys.stderr)
        return 1
    if options.now is None:
        options.now = time.time_ns() // 1_000_000
    stated = options.checkpoint is None
    verdicts = verify(data, options)
    good = all(v["pass"] for v in verdicts)
    if stated and verdicts[0]["pass"]:
        print(f"no --checkpoint given: trusting the committee that the file names, {options.checkpoint.hex()}",
              file=sys.stderr)
    if options.json:
        print(json.dumps({"pass": good, "verdicts": verdicts}))
    else:
        for v in verdicts:
            print(f"{'pass' if v['pass'] else 'FAIL'}  {v['check']:<17} {v['reason']}")
    return 0 if good else 4


if __name__ == "__main__":
    sys.exit(main())
