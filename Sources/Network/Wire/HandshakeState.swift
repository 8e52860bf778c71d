// Noise's HandshakeState (revision 34, section 5.3) for the one pattern that libp2p uses, Noise_XX_25519_ChaChaPoly_SHA256.
//
//     initiator                         responder
//     ready ── e ──────────────────────▶ ready
//     sent  ◀────────── e, ee, s, es ── received
//     got   ── s, se ──────────────────▶ replied
//     done                               done        both: split(), which consumes the handshake
//
// The value cannot be copied and `split` ends its life, so a key agreement is never used twice and transport keys do
// not exist before the last message. A call out of order is our own bug and traps.

package struct HandshakeState: ~Copyable, Sendable {
    package static let protocolName = "Noise_XX_25519_ChaChaPoly_SHA256"

    package enum Role: Hashable, Sendable { case initiator, responder }

    private enum Step: Int { case first, second, third, done }

    private let role: Role
    private var symmetric: SymmetricState
    private var step = Step.first
    private let staticSecret: [UInt8]
    package let staticPublic: [UInt8]
    private let ephemeralSecret: [UInt8]
    private let ephemeralPublic: [UInt8]
    private var remoteEphemeral: [UInt8] = []
    /// The other side's static key; empty until the message that carries it was read.
    package private(set) var remoteStatic: [UInt8] = []

    /// - Parameters:
    ///   - staticSecret: 32 random bytes.
    ///   - ephemeralSecret: 32 random bytes that are used for nothing else.
    package init(role: Role, staticSecret: [UInt8], ephemeralSecret: [UInt8], prologue: [UInt8] = []) {
        self.role = role
        self.staticSecret = staticSecret
        self.ephemeralSecret = ephemeralSecret
        staticPublic = DiffieHellman.publicKey(of: staticSecret)
        ephemeralPublic = DiffieHellman.publicKey(of: ephemeralSecret)
        symmetric = SymmetricState(protocolName: Self.protocolName)
        symmetric.mixHash(prologue)
    }

    package var isDone: Bool { step == .done }
    package var isOurTurn: Bool { (role == .initiator) == (step == .first || step == .third) && !isDone }
    /// Binds whatever is signed over it to this handshake (section 11.2).
    package var handshakeHash: [UInt8] { symmetric.hash }

    package mutating func writeMessage(_ payload: [UInt8]) throws(NoiseFault) -> [UInt8] {
        precondition(isOurTurn, "it is the other side's turn")
        var message: [UInt8] = []
        switch step {
        case .first:
            symmetric.mixHash(ephemeralPublic)
            message = ephemeralPublic
            step = .second
        case .second:
            symmetric.mixHash(ephemeralPublic)
            symmetric.mixKey(try DiffieHellman.shared(ephemeralSecret, remoteEphemeral))
            message = ephemeralPublic + (try symmetric.encryptAndHash(staticPublic))
            symmetric.mixKey(try DiffieHellman.shared(staticSecret, remoteEphemeral))
            step = .third
        case .third:
            message = try symmetric.encryptAndHash(staticPublic)
            symmetric.mixKey(try DiffieHellman.shared(staticSecret, remoteEphemeral))
            step = .done
        case .done:
            preconditionFailure("the handshake is over")
        }
        return message + (try symmetric.encryptAndHash(payload))
    }

    /// - Returns: the payload.
    /// - Throws: `NoiseFault`; the handshake is then of no more use.
    package mutating func readMessage(_ message: [UInt8]) throws(NoiseFault) -> [UInt8] {
        precondition(!isDone && !isOurTurn, "it is our turn")
        let pointBytes = DiffieHellman.byteCount
        var rest = message[...]
        if step != .third {
            guard rest.count >= pointBytes else { throw .wrongLength(message.count) }
            remoteEphemeral = Array(rest.prefix(pointBytes))
            rest = rest.dropFirst(pointBytes)
            symmetric.mixHash(remoteEphemeral)
        }
        if step != .first {
            if step == .second { symmetric.mixKey(try DiffieHellman.shared(ephemeralSecret, remoteEphemeral)) }
            let sealedBytes = pointBytes + CipherState.tagBytes
            guard rest.count >= sealedBytes else { throw .wrongLength(message.count) }
            remoteStatic = try symmetric.decryptAndHash(Array(rest.prefix(sealedBytes)))
            rest = rest.dropFirst(sealedBytes)
            symmetric.mixKey(try DiffieHellman.shared(ephemeralSecret, remoteStatic))
        }
        let payload = try symmetric.decryptAndHash(Array(rest))
        switch step {
        case .first: step = .second
        case .second: step = .third
        case .third, .done: step = .done
        }
        return payload
    }

    /// The two cipher states of the session, ours to send with first.
    package consuming func split() -> (send: CipherState, receive: CipherState) {
        precondition(isDone, "the handshake is not over")
        let (first, second) = symmetric.split()
        return role == .initiator ? (first, second) : (second, first)
    }
}
