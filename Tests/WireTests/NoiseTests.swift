// Noise against vectors of two foreign producers (cacophony and snow), and what must be refused.

import Foundation
import Messages
import Primitives
import Testing

@testable import Wire

@Suite struct NoiseTests {
    private struct Vectors: Decodable { let vectors: [Vector] }

    struct Vector: Decodable {
        struct Message: Decodable {
            let payload: String
            let ciphertext: String
        }

        let producer: String
        let init_prologue: String
        let init_static: String
        let init_ephemeral: String
        let resp_static: String
        let resp_ephemeral: String
        let handshake_hash: String?
        let messages: [Message]
    }

    static func vectors() throws -> [Vector] {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(
            path: "../Fixtures/wire/noise-xx.json")
        return try JSONDecoder().decode(Vectors.self, from: try Data(contentsOf: file)).vectors
    }

    @Test func foreignVectors() throws {
        let all = try Self.vectors()
        #expect(Set(all.map(\.producer)) == ["cacophony", "snow"])
        for vector in all {
            func hex(_ text: String) throws -> [UInt8] { try #require(Hex.decode(text)) }
            var initiator = HandshakeState(
                role: .initiator, staticSecret: try hex(vector.init_static),
                ephemeralSecret: try hex(vector.init_ephemeral), prologue: try hex(vector.init_prologue))
            var responder = HandshakeState(
                role: .responder, staticSecret: try hex(vector.resp_static),
                ephemeralSecret: try hex(vector.resp_ephemeral), prologue: try hex(vector.init_prologue))
            for (index, message) in vector.messages.prefix(3).enumerated() {
                let payload = try hex(message.payload)
                if index == 1 {
                    #expect(try responder.writeMessage(payload) == (try hex(message.ciphertext)))
                    #expect(try initiator.readMessage(try hex(message.ciphertext)) == payload)
                } else {
                    #expect(try initiator.writeMessage(payload) == (try hex(message.ciphertext)))
                    #expect(try responder.readMessage(try hex(message.ciphertext)) == payload)
                }
            }
            if let hash = vector.handshake_hash {
                #expect(Hex.encode(initiator.handshakeHash) == hash && Hex.encode(responder.handshakeHash) == hash)
            }
            let (initiatorSend, initiatorReceive) = initiator.split()
            let (responderSend, responderReceive) = responder.split()
            var toResponder = (initiatorSend, responderReceive)
            var toInitiator = (responderSend, initiatorReceive)
            for (index, message) in vector.messages.dropFirst(3).enumerated() {
                var text = try hex(message.payload)
                // XX has three messages, so the responder writes the first of the transport.
                if index % 2 == 0 {
                    try toInitiator.0.seal(&text, from: 0)
                    #expect(Hex.encode(text) == message.ciphertext)
                    let range = try toInitiator.1.open(&text, 0..<text.count)
                    #expect(Hex.encode(Array(text[range])) == message.payload)
                } else {
                    try toResponder.0.seal(&text, from: 0)
                    #expect(Hex.encode(text) == message.ciphertext)
                    let range = try toResponder.1.open(&text, 0..<text.count)
                    #expect(Hex.encode(Array(text[range])) == message.payload)
                }
            }
        }
    }

    @Test func aFailedOpenDoesNotCount() throws {
        let key = [UInt8](0..<32)
        var sender = CipherState(key: key)
        var receiver = CipherState(key: key)
        var sealed = Array("hello".utf8)
        try sender.seal(&sealed, from: 0)
        for index in sealed.indices {
            var tampered = sealed
            tampered[index] ^= 0x40
            #expect(throws: NoiseFault.notAuthentic) { _ = try receiver.open(&tampered, 0..<tampered.count) }
            #expect(receiver.nonce == 0)
        }
        var short = [UInt8](repeating: 0, count: 15)
        #expect(throws: NoiseFault.wrongLength(15)) { _ = try receiver.open(&short, 0..<15) }
        #expect(receiver.nonce == 0)
        var whole = sealed
        let range = try receiver.open(&whole, 0..<whole.count)
        #expect(Array(whole[range]) == Array("hello".utf8) && receiver.nonce == 1)
    }

    @Test func noncesRunOut() throws {
        var cipher = CipherState(key: [UInt8](0..<32), nonce: .max - 1)
        var text: [UInt8] = [1]
        try cipher.seal(&text, from: 0)
        let before = text
        #expect(throws: NoiseFault.nonceExhausted) { try cipher.seal(&text, from: 0) }
        #expect(text == before)
        #expect(throws: NoiseFault.nonceExhausted) { _ = try cipher.open(&text, 0..<text.count) }
    }

    /// The points of order 1, 2, 4 and 8 and their non-canonical forms: X25519 gives zero for each.
    static let smallOrderPoints: [String] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]

    @Test(arguments: smallOrderPoints) func smallOrderPointsAreRefused(hex: String) throws {
        let point = try #require(Hex.decode(hex))
        #expect(throws: NoiseFault.smallOrderPoint) {
            _ = try DiffieHellman.shared([UInt8](repeating: 9, count: 32), point)
        }
        let listener = Side(
            Connection(
                role: .listener, settings: try Duplex.settings(2), expectedPeer: nil, remoteAddress: nil,
                entropy: Duplex.entropy(5), now: .start))
        listener.handle(.started, now: .start)
        let opening = Multistream.line("/multistream/1.0.0") + Multistream.line("/noise") + [0, 32] + point
        listener.handle(.received(opening), now: .start)
        #expect(listener.closeReason == .noise(.smallOrderPoint))
    }

    /// A dialer of our own making that sends `payload` as its identity.
    private func verdict(onPayload make: (_ staticPublic: [UInt8]) throws -> [UInt8]) throws -> CloseReason? {
        let listener = Side(
            Connection(
                role: .listener, settings: try Duplex.settings(2), expectedPeer: nil, remoteAddress: nil,
                entropy: Duplex.entropy(5), now: .start))
        listener.handle(.started, now: .start)
        var noise = HandshakeState(
            role: .initiator, staticSecret: [UInt8](repeating: 3, count: 32),
            ephemeralSecret: [UInt8](repeating: 4, count: 32))
        func framed(_ message: [UInt8]) -> [UInt8] {
            [UInt8(message.count >> 8), UInt8(message.count & 255)] + message
        }
        let first = framed(try noise.writeMessage([]))
        listener.handle(
            .received(Multistream.line("/multistream/1.0.0") + Multistream.line("/noise") + first), now: .start)
        let agreed = Multistream.line("/multistream/1.0.0") + Multistream.line("/noise")
        #expect(listener.outgoing.starts(with: agreed))
        let answer = Array(listener.outgoing.dropFirst(agreed.count))
        // 200 bytes: e, sealed s, and the sealed payload of 104 bytes, as every libp2p stack sends it.
        #expect(answer.count == 202)
        _ = try noise.readMessage(Array(answer.dropFirst(2)))
        let third = framed(try noise.writeMessage(try make(noise.staticPublic)))
        listener.handle(.received(third), now: .start)
        return listener.closeReason
    }

    private func keyMessage(_ type: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        [0x08, type, 0x12, UInt8(bytes.count)] + bytes
    }

    private func payload(_ key: [UInt8], _ signature: [UInt8]) -> [UInt8] {
        [0x0a, UInt8(key.count)] + key + [0x12, UInt8(signature.count)] + signature
    }

    @Test func identitiesThatMustBeRefused() throws {
        let key = try Duplex.key(1)
        let prefix = Array("noise-libp2p-static-key:".utf8)
        let ed25519 = keyMessage(1, key.publicKey.bytes)
        #expect(try verdict { payload(ed25519, key.sign(prefix + $0).bytes) } == nil)
        #expect(try verdict { payload(ed25519, key.sign($0).bytes) } == .identity(.badSignature))
        #expect(try verdict { _ in payload(ed25519, []) } == .identity(.badSignature))
        #expect(try verdict { _ in [] } == .identity(.malformed))
        #expect(try verdict { _ in [0xff, 0xff] } == .identity(.malformed))
        for (type, name) in [(UInt8(0), "RSA"), (2, "Secp256k1"), (3, "ECDSA")] {
            let other = keyMessage(type, [UInt8](repeating: 2, count: 33))
            #expect(
                try verdict { payload(other, key.sign(prefix + $0).bytes) } == .identity(.refusedKeyType(name)))
        }
        let short = keyMessage(1, [1, 2, 3])
        #expect(
            try verdict { payload(short, key.sign(prefix + $0).bytes) }
                == .identity(.invalidKey(.wrongLength(expected: 32, got: 3))))
        let small = keyMessage(1, [1] + [UInt8](repeating: 0, count: 31))
        #expect(
            try verdict { _ in payload(small, [UInt8](repeating: 0, count: 64)) }
                == .identity(.invalidKey(.invalidPoint)))
        let unknown = keyMessage(9, key.publicKey.bytes)
        #expect(try verdict { payload(unknown, key.sign(prefix + $0).bytes) } == .identity(.malformed))
    }

    @Test func handshakeMessagesAreBounded() throws {
        let listener = Side(
            Connection(
                role: .listener, settings: try Duplex.settings(2), expectedPeer: nil, remoteAddress: nil,
                entropy: Duplex.entropy(5), now: .start))
        listener.handle(.started, now: .start)
        let opening = Multistream.line("/multistream/1.0.0") + Multistream.line("/noise") + [0xff, 0xff]
        listener.handle(.received(opening), now: .start)
        #expect(listener.closeReason == .noise(.wrongLength(65535)))
    }

    @Test func recordsOfOthersAreRefused() throws {
        let mine = try Duplex.key(1)
        let other = try Duplex.key(2)
        let record = PeerRecord(
            peer: mine.publicKey.peerID, sequence: 3, addresses: [try Multiaddr(text: "/ip4/1.2.3.4/tcp/5")])
        let sealed = record.sealed(by: mine)
        #expect(try PeerRecord(opening: sealed, signer: mine.publicKey.peerID) == record)
        #expect(throws: IdentityFault.self) {
            _ = try PeerRecord(opening: sealed, signer: other.publicKey.peerID)
        }
        #expect(throws: IdentityFault.malformed) {
            // Signed by another than the one it speaks of.
            _ = try PeerRecord(opening: record.sealed(by: other), signer: other.publicKey.peerID)
        }
        for index in sealed.indices {
            var altered = sealed
            altered[index] ^= 1
            let opened = try? PeerRecord(opening: altered, signer: mine.publicKey.peerID)
            #expect(opened == nil, "byte \(index) is not covered")
        }
    }
}
