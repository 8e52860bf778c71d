#!/usr/bin/env python3
"""Writes py-libp2p-files.txt: roots of UnixFS files as py-libp2p 0.8.1 (pip install libp2p==0.8.1) builds them, whose
layout is kubo's (`--raw-leaves --cid-version 1`): size, chunk size, links a node, root CID, hex of the root block ("-"
where it is the only leaf). The content of a file of n bytes is byte i = (i * 7 + i // 256) mod 256."""
import pathlib
from libp2p.bitswap import cid_to_text
from libp2p.bitswap.cid import CODEC_RAW, compute_cid_v1
from libp2p.bitswap.dag_pb import balanced_layout

out = []
def case(size, chunk, links):
    data = bytes((i * 7 + i // 256) & 255 for i in range(size))
    chunks = [data[i:i + chunk] for i in range(0, size, chunk)] or [b""]
    # With the leaf's bytes, as for a file of kubo; py-libp2p's add_bytes leaves them out and so writes sizes of 0.
    leaves = [(compute_cid_v1(c, codec=CODEC_RAW), c, len(c)) for c in chunks]
    root, block, _ = balanced_layout(leaves, max_links=links)
    hexa = block.hex() if len(chunks) > 1 and len(block) < 2000 else "-"
    out.append(f"{size} {chunk} {links} {cid_to_text(root)} {hexa}")

case(0, 256, 174)
case(1, 256, 174)
case(256, 256, 174)
case(257, 256, 174)
case(256 * 174, 256, 174)
case(256 * 174 + 1, 256, 174)
case(1000, 10, 2)
case(1000, 10, 3)
case(1024 * 1024 * 3 + 17, 262144, 174)
case(300_000, 1000, 16)
pathlib.Path(__file__).with_name("py-libp2p-files.txt").write_text("\n".join(out) + "\n")
