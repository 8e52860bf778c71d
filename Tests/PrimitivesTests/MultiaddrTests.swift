// Binary forms written by the Python package multiaddr 0.2.0 (quic-v1 and wss by the multicodec table).

import Primitives
import Testing

@Suite struct MultiaddrTests {
    static let peer = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
    static let peerBytes = "a5032600240801122003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"

    @Test(arguments: [
        ("/ip4/127.0.0.1/tcp/4001", "047f000001060fa1"),
        ("/ip4/0.0.0.0/tcp/0", "0400000000060000"),
        ("/ip6/::1/tcp/4001", "2900000000000000000000000000000001060fa1"),
        ("/ip6/2001:db8::8a2e:370:7334/udp/53", "2920010db80000000000008a2e0370733491020035"),
        ("/dns4/example.com/tcp/443", "360b6578616d706c652e636f6d0601bb"),
        ("/dns6/x.y/tcp/65535", "3703782e7906ffff"),
        ("/dns/a.b/udp/1", "3503612e6291020001"),
        ("/dnsaddr/bootstrap.libp2p.io", "3813626f6f7473747261702e6c69627032702e696f"),
        ("/ip4/1.2.3.4/udp/4001/quic-v1", "040102030491020fa1cd03"),
        ("/ip4/1.2.3.4/tcp/443/ws", "04010203040601bbdd03"),
        ("/ip4/1.2.3.4/tcp/443/wss", "04010203040601bbde03"),
        ("/ip4/1.2.3.4/tcp/80/p2p/\(peer)", "0401020304060050" + peerBytes),
        ("/ip4/1.2.3.4/tcp/4001/p2p/\(peer)/p2p-circuit", "0401020304060fa1" + peerBytes + "a202"),
        (
            "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC",
            "a503221220d52ebb89d85b02a284948203a62ff28389c57c9f42beec4ec20db76a68911c0b"
        ),
    ])
    func foreignVectors(text: String, hex: String) throws {
        let address = try Multiaddr(text: text)
        #expect(Hex.encode(address.bytes) == hex)
        #expect(address.text == text)
        #expect(try Multiaddr(bytes: bytes(hex)) == address)
    }

    /// RFC 5952 §4: the one text of an IPv6 address.
    @Test(arguments: [
        ("0:0:0:0:0:0:0:0", "::"), ("0:0:0:0:0:0:0:1", "::1"), ("2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("fe80::", "fe80::"),
        ("::ffff:1.2.3.4", "::ffff:102:304"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
    ])
    func oneTextForAnAddress(written: String, canonical: String) throws {
        #expect(try Multiaddr(text: "/ip6/\(written)/tcp/1").text == "/ip6/\(canonical)/tcp/1")
    }

    @Test(arguments: [
        "", "/", "ip4/1.2.3.4", "/ip4", "/ip4/1.2.3", "/ip4/1.2.3.4.5", "/ip4/256.1.1.1", "/ip4/01.2.3.4",
        "/ip4/1.2.3.+4", "/ip4/a.b.c.d",
        "/ip4/1.2.3.4/tcp", "/ip4/1.2.3.4/tcp/65536", "/ip4/1.2.3.4/tcp/-1", "/ip4/1.2.3.4/tcp/080",
        "/ip4/1.2.3.4/tcp/+80",
        "/ip4/1.2.3.4/tcp/ 80", "/ip6/:::/tcp/1", "/ip6/1::2::3/tcp/1", "/ip6/1:2:3:4:5:6:7/tcp/1",
        "/ip6/1:2:3:4:5:6:7:8:9/tcp/1",
        "/ip6/12345::/tcp/1", "/ip6/g::/tcp/1", "/ip6/:1/tcp/1", "/ip6/1.2.3.4::1/tcp/1", "/ip6/1.2.3.4:1::/tcp/1",
        "/ip6/+1::/tcp/1",
        "/ip6/fe80::1%eth0/tcp/1", "/dns4//tcp/1", "/dns4/a b/tcp/1", "/dns4/é/tcp/1", "/sctp/1",
        "/ip4/1.2.3.4/tcp/1/onion3/x", "/p2p/nobody",
        "/p2p/", "/ws/extra", "/ip4/1.2.3.4 ",
    ])
    func textMustReject(text: String) {
        #expect(throws: MultiaddrFault.self, "\(text)") { try Multiaddr(text: text) }
    }

    @Test(arguments: [
        "", "04", "047f0000", "06", "060f", "0480000000060fa180", "8400", "3500", "35ffffffffffffffff7f61", "350261",
        "3502c080", "350361206200",
        "a50300", "a503020000ff", "2900", "ff7f", "84007f000001",
    ])
    func binaryMustReject(hex: String) {
        #expect(throws: MultiaddrFault.self) { try Multiaddr(bytes: bytes(hex)) }
    }

    @Test func theEndOfAnAddress() throws {
        let peer = try #require(PeerID(text: Self.peer))
        let bare = try Multiaddr(text: "/ip4/1.2.3.4/tcp/80")
        let full = bare.with(peer: peer)
        #expect(full.text == "/ip4/1.2.3.4/tcp/80/p2p/\(Self.peer)")
        #expect(full.peer == peer && bare.peer == nil)
        #expect(full.withoutPeer == bare && bare.withoutPeer == bare)
        #expect(full.with(peer: peer) == full)
        #expect(try Multiaddr(text: "/p2p/\(Self.peer)").withoutPeer == nil)
    }

    /// What is read from text can be sent and read again.
    @Test func longAddressesAreRefusedBeforeTheyAreSent() {
        let name = String(repeating: "a", count: 250)
        let text = "/dns4/\(name)/dns4/\(name)/dns4/\(name)"
        #expect(throws: MultiaddrFault.self) { try Multiaddr(text: text) }
    }

    @Test func noBytesTrap() {
        var random = SeededRandom(seed: 12)
        for _ in 0..<20_000 {
            var candidate = random.bytes(Int(random.below(20)))
            if !candidate.isEmpty { candidate[0] = [4, 6, 41, 53, 54, 56][Int(random.below(6))] }
            guard let address = try? Multiaddr(bytes: candidate) else { continue }
            #expect(address.bytes == candidate)
            #expect((try? Multiaddr(text: address.text)) == address)
        }
    }
}
