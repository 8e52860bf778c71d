#!/usr/bin/env python3
"""Many streaming clients against a running peer, many of which leave in the middle. Standard library only.

  crowd.py http://127.0.0.1:8547 --token HOME/token [--model starter] [--clients 200] [--seconds 300] [--tenants 10] [--pid PID]

First eight clients have the peer to themselves for a tenth of the time; then the crowd comes. A client asks, reads its answer
to the end (or, one in three, leaves after a few tokens), and asks again; told 429 or 503 it waits as long as it was told.
Tenants have one to several times as many clients as one another, and should get as much all the same.

Prints one JSON object: tokens a second of answers that were wanted to the end or until their client left, the share of
the undisturbed rate, Jain's fairness index over the tenants' tokens, what was answered otherwise, and the peer's memory before, at most and
after. Exit code 1 where an answer broke off or was anything but 200, 429 and 503.
"""
import argparse, asyncio, json, random, sys, time, urllib.parse, urllib.request


class Count:
    def __init__(self):
        self.tokens = self.finished = self.left = self.refused = 0
        self.faults = []
        self.first = []
        self.by_tenant = {}


async def ask(host, port, key, model, tokens, leave_after, count, tenant, number):
    """One request. Answers seconds to wait before the next."""
    body = json.dumps(
        dict(model=model, prompt=f"Question {number}: what is cut {number % 97}?", max_tokens=tokens, stream=True,
             ignore_eos=True, temperature=0.8, seed=number)).encode()
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    try:
        writer.write(
            (f"POST /v1/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
             f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode() + body)
        await writer.drain()
        began = time.monotonic()
        status = int((await reader.readline()).split()[1])
        wait = 1.0
        while (line := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            if name.lower() == "retry-after":
                wait = float(value)
        if status in (429, 503):
            count.refused += 1
            return wait * random.uniform(0.8, 1.2)
        if status != 200:
            count.faults.append(f"{status}: {(await reader.read(300)).decode(errors='replace')}")
            return 1.0
        heard, done = 0, False
        while line := await reader.readline():
            if b"data: [DONE]" in line:
                done = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    count.faults.append(line[:300].decode())
                    return 1.0
                choices = event.get("choices") or [{}]
                if choices[0].get("token_ids") or choices[0].get("text"):
                    if heard == 0:
                        count.first.append(time.monotonic() - began)
                    new = max(1, len(choices[0].get("token_ids") or []))
                    heard += new
                    count.tokens += new
                    count.by_tenant[tenant] = count.by_tenant.get(tenant, 0) + new
                    if leave_after and heard >= leave_after:
                        count.left += 1
                        return 0
        if done:
            count.finished += 1
        else:
            count.faults.append(f"an answer broke off after {heard} tokens")
        return 0
    finally:
        writer.close()


async def client(host, port, key, model, count, tenant, number, until, leaves):
    chance = random.Random(number)
    turn = 0
    while time.monotonic() < until:
        turn += 1
        leave = chance.randrange(1, 60) if leaves and chance.random() < 1 / 3 else None
        try:
            wait = await ask(host, port, key, model, 64, leave, count, tenant, number * 100_000 + turn)
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError) as fault:
            count.faults.append(f"{type(fault).__name__}: {fault}")
            wait = 1.0
        if wait:
            await asyncio.sleep(min(wait, max(0.0, until - time.monotonic())))


def call(base, token, path, body=None):
    request = urllib.request.Request(
        base + path, data=json.dumps(body).encode() if body is not None else None,
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def resident(pid):
    """Megabytes; 0 where no process was named."""
    if not pid:
        return 0.0
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1e3 for line in file if line.startswith("VmRSS"))


async def main(a):
    base = a.peer.rstrip("/")
    url = urllib.parse.urlparse(base)
    token = open(a.token).read().strip()
    keys = [json.loads(call(base, token, "/api/v1/keys", dict(name=f"crowd-{a.seed}-{i}")))["key"] for i in range(a.tenants)]
    warm = max(5.0, a.seconds / 10)

    async def run(clients, seconds, leaves, tenant_of):
        count = Count()
        until = time.monotonic() + seconds
        began = time.monotonic()
        await asyncio.gather(*[
            client(url.hostname, url.port, keys[tenant_of(i)], a.model, count, tenant_of(i), a.seed * 1000 + i, until, leaves)
            for i in range(clients)])
        return count, time.monotonic() - began

    await run(8, 3, False, lambda i: i % a.tenants)
    alone, alone_seconds = await run(8, warm, False, lambda i: i % a.tenants)
    before = resident(a.pid)
    peak = [before]

    async def watch():
        while True:
            await asyncio.sleep(2)
            peak.append(resident(a.pid))

    watcher = asyncio.create_task(watch())
    # Tenant i has about i + 1 parts of the clients.
    places = [i for i in range(a.tenants) for _ in range(i + 1)]
    crowd, seconds = await run(a.clients, a.seconds, True, lambda i: places[i * len(places) // a.clients])
    watcher.cancel()
    await asyncio.sleep(2)
    after = resident(a.pid)
    shares = [crowd.by_tenant.get(i, 0) for i in range(a.tenants)]
    fairness = sum(shares) ** 2 / (len(shares) * sum(s * s for s in shares)) if any(shares) else 0
    rate, undisturbed = crowd.tokens / seconds, alone.tokens / alone_seconds
    first = sorted(crowd.first)
    half = len(peak) // 2
    result = dict(
        clients=a.clients, seconds=round(seconds, 1), tenants=a.tenants, undisturbed_tokens_per_second=round(undisturbed, 1),
        tokens_per_second=round(rate, 1), share_of_undisturbed=round(rate / undisturbed, 3) if undisturbed else None,
        fairness=round(fairness, 4), finished=crowd.finished, left=crowd.left, refused=crowd.refused,
        faults=len(crowd.faults) + len(alone.faults), first_token_ms_median=round(first[len(first) // 2] * 1000) if first else None,
        resident_mb=dict(before=round(before, 1), first_half=round(max(peak[:half] or [0]), 1),
                         second_half=round(max(peak[half:] or [0]), 1), after=round(after, 1)))
    print(json.dumps(result))
    for fault in (alone.faults + crowd.faults)[:10]:
        print(fault, file=sys.stderr)
    return 1 if result["faults"] or not crowd.tokens else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer")
    parser.add_argument("--token", required=True, help="the file of the home's token")
    parser.add_argument("--model", default="starter")
    for name, value in (("clients", 200), ("seconds", 300), ("tenants", 10), ("seed", 1), ("pid", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    sys.exit(asyncio.run(main(parser.parse_args())))
