// The two steps before a connection is established: agreeing on Noise and going through its three messages, then agreeing
// on Yamux inside it.

internal import Primitives

/// multistream-select for "/noise", then the Noise handshake with libp2p's identity payloads.
struct Securing: ~Copyable {
    private var noise: HandshakeState
    private var negotiation: Negotiation
    private let identity: SigningKey
    private let staticPublic: [UInt8]
    private let expected: PeerID?
    private var peer: PeerID?
    /// What is sent before anything is heard.
    let opening: [UInt8]

    init(
        _ role: Connection.Role, _ handshake: consuming HandshakeState, _ identity: SigningKey, _ expected: PeerID?
    ) throws(CloseReason) {
        var noise = handshake
        staticPublic = noise.staticPublic
        self.identity = identity
        self.expected = expected
        let negotiation = Negotiation(role, .noise)
        self.negotiation = negotiation
        do {
            opening = negotiation.opening + (role == .dialer ? Self.frame(try noise.writeMessage([])) : [])
        } catch {
            throw .noise(error)
        }
        self.noise = noise
    }

    /// Reads on; answers are appended to `out`.
    /// - Returns: whether the handshake is over.
    mutating func read(
        _ input: [UInt8], _ cursor: inout Int, messageBytesMax: Int, _ out: inout [UInt8]
    ) throws(CloseReason) -> Bool {
        do { _ = try negotiation.read(input, &cursor, end: input.count, replies: &out) } catch {
            throw .negotiation(error)
        }
        guard negotiation.isAgreed else { return false }
        while !noise.isDone {
            if noise.isOurTurn {
                let payload = NoiseIdentity.payload(identity, staticPublic: staticPublic)
                do { out.append(contentsOf: Self.frame(try noise.writeMessage(payload))) } catch { throw .noise(error) }
                continue
            }
            if input.count - cursor >= NoiseSession.lengthBytes {
                let announced = Int(input[cursor]) << 8 | Int(input[cursor + 1])
                guard announced <= messageBytesMax else { throw .noise(.wrongLength(announced)) }
            }
            guard let frame = NoiseSession.nextFrame(input, at: cursor) else { return false }
            cursor = frame.upperBound
            try take(Array(input[frame]))
        }
        return true
    }

    private mutating func take(_ message: [UInt8]) throws(CloseReason) {
        let payload: [UInt8]
        do { payload = try noise.readMessage(message) } catch { throw .noise(error) }
        // The first message carries neither a static key nor a payload that anyone could trust.
        guard !noise.remoteStatic.isEmpty else { return }
        do {
            peer = try NoiseIdentity.verify(payload, staticPublic: noise.remoteStatic, expected: expected).peerID
        } catch {
            throw .identity(error)
        }
    }

    consuming func secured(_ role: Connection.Role) throws(CloseReason) -> Muxing {
        guard let peer else { throw .identity(.malformed) }
        let (send, receive) = noise.split()
        return Muxing(role, peer, NoiseSession(send: send, receive: receive))
    }

    private static func frame(_ message: [UInt8]) -> [UInt8] {
        [UInt8(truncatingIfNeeded: message.count >> 8), UInt8(truncatingIfNeeded: message.count)] + message
    }
}

/// multistream-select for the muxer, inside Noise.
struct Muxing: Sendable {
    let peer: PeerID
    var session: NoiseSession
    private var negotiation: Negotiation

    init(_ role: Connection.Role, _ peer: PeerID, _ session: NoiseSession) {
        self.peer = peer
        self.session = session
        negotiation = Negotiation(role, .yamux)
    }

    mutating func opening() throws(CloseReason) -> [UInt8] {
        try seal(negotiation.opening)
    }

    /// Reads on; answers are appended to `out`.
    /// - Returns: the decrypted bytes behind the agreement, or nil while there is none.
    mutating func read(
        _ input: inout [UInt8], _ cursor: inout Int, _ out: inout [UInt8]
    ) throws(CloseReason) -> Range<Int>? {
        while let plaintext = try open(&input, &cursor) {
            var replies: [UInt8] = []
            var inner = plaintext.lowerBound
            let end = plaintext.upperBound
            do {
                _ = try negotiation.read(input, &inner, end: end, replies: &replies)
            } catch {
                throw .negotiation(error)
            }
            out.append(contentsOf: try seal(replies))
            if negotiation.isAgreed { return inner..<end }
        }
        return nil
    }

    private mutating func open(_ input: inout [UInt8], _ cursor: inout Int) throws(CloseReason) -> Range<Int>? {
        do { return try session.open(&input, at: &cursor) } catch { throw .noise(error) }
    }

    private mutating func seal(_ plaintext: [UInt8]) throws(CloseReason) -> [UInt8] {
        do { return try session.seal(plaintext) } catch { throw .noise(error) }
    }
}
