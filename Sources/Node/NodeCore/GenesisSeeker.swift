// How a newcomer that has only a network's hash comes by its genesis. It asks one boot peer after the other; what it is
// given is the genesis if its hash says so, whoever gave it. It never makes one up: while nobody answers, it waits.
//
//   start ──dial──▶ waiting ── a peer is connected ──▶ asking ── the right bytes ──▶ found
//                      ▲                                  │ nothing, silence, gone: that peer rests
//                      └──────────────────────────────────┘ other bytes: that peer is blamed and asked no more

package import Ledger
package import Primitives

/// What is asked on `/openledger/headers/1`, in Protocol/sequencing.md: `{"type": "genesis", "network": hash}`.
enum GenesisRequest {
    static let type = "genesis"

    static func encoded(_ network: NetworkID) -> [UInt8] {
        CBOR.map(["type": .text(type), "network": .network(network)]).encoded()
    }
}

package enum SeekerEvent: Sendable {
    case start
    case connected(PeerID)
    case disconnected(PeerID)
    /// The stream that was asked for stands.
    case opened(StreamID)
    /// One message, without its length prefix.
    case received(StreamID, [UInt8])
    /// Closed, reset or never opened.
    case ended(StreamID)
    /// The other side sent what is no message of the protocol, or one that is too long.
    case broken(StreamID, String)
    /// At least once a second.
    case tick
}

package enum SeekerEffect: Sendable {
    case dial(Multiaddr)
    case open(StreamID, PeerID)
    case send(StreamID, [UInt8])
    case finish(StreamID)
    case reset(StreamID)
    case disconnect(PeerID)
    case blame(PeerID, String)
    case found(Genesis)
    /// The right bytes, and this version cannot read them: nobody else could give better ones.
    case unreadable(CBORFault)
}

package struct GenesisSeeker: Sendable {
    /// The longest answer, in bytes.
    package static let answerBytesMax = Genesis.bytesMax
    /// A peer that was asked has this long.
    static let patience = Span.seconds(10)
    /// Who had nothing, or said nothing, is asked again after this.
    static let rest = Span.seconds(15)
    static let redial = Span.seconds(3)

    private struct Question: Sendable {
        let stream: StreamID
        let peer: PeerID
        let since: Instant
    }

    package let network: NetworkID
    private let boot: [Multiaddr]
    private var connected: Set<PeerID> = []
    private var resting: [PeerID: Instant] = [:]
    /// Gave something else for the genesis.
    private var liars: Set<PeerID> = []
    private var question: Question?
    private var dialledAt: Instant?
    private var lastStream: UInt64 = 0
    package private(set) var isDone = false

    /// - Parameter boot: addresses that name their peer.
    package init(network: NetworkID, boot: [Multiaddr]) {
        self.network = network
        self.boot = boot
    }

    package var connectedCount: Int { connected.count }

    /// For people: what it waits for, and what to do.
    package var sentence: String {
        let known = Set(boot.compactMap(\.peer))
        let names = boot.map(\.text).joined(separator: ", ")
        if boot.isEmpty {
            return "Waiting for the genesis of \(network): no boot peer is named; start with --bootstrap MULTIADDR."
        }
        if !known.isEmpty, known.isSubset(of: liars) {
            return
                "Waiting for the genesis of \(network): the boot peers gave another genesis (\(names)); check the hash."
        }
        if let question { return "Waiting for the genesis of \(network): \(question.peer) is being asked." }
        if connected.subtracting(liars).isEmpty {
            return "Waiting for the genesis of \(network): none of the boot peers answers (\(names))."
        }
        return "Waiting for the genesis of \(network): the boot peers do not give it (\(names)); check the hash."
    }

    package mutating func handle(_ event: SeekerEvent, at now: Instant) -> [SeekerEffect] {
        guard !isDone else { return [] }
        var effects: [SeekerEffect] = []
        switch event {
        case .start, .tick: break
        case .connected(let peer): if boot.contains(where: { $0.peer == peer }) { connected.insert(peer) }
        case .disconnected(let peer):
            connected.remove(peer)
            if question?.peer == peer { giveUp(now) }
        case .opened(let stream):
            guard question?.stream == stream else { break }
            effects.append(.send(stream, GenesisRequest.encoded(network)))
            effects.append(.finish(stream))
        case .received(let stream, let bytes): received(stream, bytes, &effects)
        case .ended(let stream): if question?.stream == stream { giveUp(now) }
        case .broken(let stream, let reason):
            if let question, question.stream == stream { refuse(question.peer, reason, &effects) }
        }
        guard !isDone else { return effects }
        if let question, now.since(question.since) >= Self.patience {
            effects.append(.reset(question.stream))
            giveUp(now)
        }
        dial(now, &effects)
        ask(now, &effects)
        return effects
    }

    private mutating func received(_ stream: StreamID, _ bytes: [UInt8], _ effects: inout [SeekerEffect]) {
        guard let question, question.stream == stream else { return }
        guard bytes.count <= Self.answerBytesMax else {
            let reason = "an answer of \(bytes.count) bytes, \(Self.answerBytesMax) are allowed"
            return refuse(question.peer, reason, &effects)
        }
        let digest = Digest(sha256: bytes)
        guard digest == network.digest else {
            return refuse(question.peer, "a genesis whose hash is \(digest.hex)", &effects)
        }
        isDone = true
        do { effects.append(.found(try Genesis(decoding: bytes))) } catch { effects.append(.unreadable(error)) }
    }

    private mutating func refuse(_ peer: PeerID, _ reason: String, _ effects: inout [SeekerEffect]) {
        if let question { effects.append(.reset(question.stream)) }
        question = nil
        liars.insert(peer)
        connected.remove(peer)
        effects.append(.blame(peer, reason))
        effects.append(.disconnect(peer))
    }

    private mutating func giveUp(_ now: Instant) {
        if let peer = question?.peer { resting[peer] = now + Self.rest }
        question = nil
    }

    private mutating func dial(_ now: Instant, _ effects: inout [SeekerEffect]) {
        if let dialledAt, now.since(dialledAt) < Self.redial { return }
        dialledAt = now
        for address in boot {
            guard let peer = address.peer, !connected.contains(peer), !liars.contains(peer) else { continue }
            effects.append(.dial(address))
        }
    }

    private mutating func ask(_ now: Instant, _ effects: inout [SeekerEffect]) {
        guard question == nil else { return }
        let able = connected.filter { peer in
            !liars.contains(peer) && (resting[peer].map { $0 <= now } ?? true)
        }
        guard let peer = able.min() else { return }
        lastStream += 2
        let stream = StreamID(lastStream)
        question = Question(stream: stream, peer: peer, since: now)
        effects.append(.open(stream, peer))
    }
}
