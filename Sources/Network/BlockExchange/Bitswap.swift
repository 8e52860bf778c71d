// The Bitswap 1.2 engine as a value: `BitswapClient` asks, `BitswapServer` answers, this is their common door. It owns
// no stream and no store: its owner feeds events and performs effects.

package import Primitives

package struct Bitswap: Sendable {
    package let parameters: BitswapParameters
    private var client: BitswapClient
    private var server: BitswapServer
    private var peers: Set<PeerID> = []

    package init(parameters: BitswapParameters = BitswapParameters()) {
        self.parameters = parameters
        client = BitswapClient(parameters: parameters)
        server = BitswapServer(parameters: parameters)
    }

    package var statistics: BitswapStatistics { client.statistics.with(server) }
    package var openSessions: [SessionID] { client.sessions.keys.sorted() }

    package mutating func handle(_ event: BitswapEvent, now: Instant) -> [BitswapEffect] {
        var effects: [BitswapEffect] = []
        switch event {
        case .connected(let peer): connect(peer, &effects)
        case .disconnected(let peer):
            guard peers.remove(peer) != nil else { break }
            client.disconnect(peer)
            server.disconnect(peer)
        case .received(let peer, let bytes): receive(bytes, from: peer, now: now, &effects)
        case .congested(let peer): server.setCongested(peer, true)
        case .writable(let peer): server.setCongested(peer, false)
        case .providers(let session, let list): client.add(list, to: session, &effects)
        case .want(let session, let cids): client.want(cids, in: session, &effects)
        case .forget(let session, let cids): client.forget(cids, of: session)
        case .close(let session): client.close(session)
        case .loaded(let cid, let bytes, let peer): server.loaded(cid, bytes, for: peer, &effects)
        case .found(let cid, let has, let peer): server.found(cid, has, for: peer)
        case .stored(let cids): server.stored(cids)
        case .tick:
            client.tick(now: now, &effects)
            server.tick()
        }
        client.assign(now: now, &effects)
        server.pump(&effects)
        flush(&effects)
        return effects
    }

    private mutating func connect(_ peer: PeerID, _ effects: inout [BitswapEffect]) {
        guard !peers.contains(peer) else { return }
        guard peers.count < parameters.peersMax else {
            effects.append(.fault(peer, .tooManyPeers(max: parameters.peersMax)))
            return
        }
        peers.insert(peer)
        client.connect(peer)
        server.connect(peer)
    }

    private mutating func receive(
        _ bytes: [UInt8], from peer: PeerID, now: Instant, _ effects: inout [BitswapEffect]
    ) {
        guard peers.contains(peer) else { return }
        let reading: ExchangeMessage.Reading
        do throws(BitswapFault) {
            reading = try ExchangeMessage.read(bytes, parameters: parameters)
        } catch {
            effects.append(.fault(peer, error))
            return
        }
        for fault in reading.faults { effects.append(.fault(peer, fault)) }
        for block in reading.message.blocks { client.receive(block, from: peer, now: now, &effects) }
        for presence in reading.message.presences { client.receive(presence, from: peer, &effects) }
        server.receive(reading.message.entries, isFull: reading.message.isFull, from: peer, &effects)
    }

    /// What both sides have to say to a peer goes in one message, in bounded pieces.
    private mutating func flush(_ effects: inout [BitswapEffect]) {
        let entries = client.takeEntries()
        let presences = server.takePresences()
        for peer in Set(entries.keys).union(presences.keys).sorted() {
            var entries = (entries[peer] ?? [])[...]
            var presences = (presences[peer] ?? [])[...]
            while !entries.isEmpty || !presences.isEmpty {
                let message = ExchangeMessage(
                    entries: Array(entries.prefix(parameters.entriesPerMessageMax)),
                    presences: Array(presences.prefix(parameters.presencesPerMessageMax)))
                entries = entries.dropFirst(parameters.entriesPerMessageMax)
                presences = presences.dropFirst(parameters.presencesPerMessageMax)
                effects.append(.send(peer, message.written()))
            }
        }
    }
}

package struct BitswapStatistics: Hashable, Sendable {
    package internal(set) var blocksReceived: UInt64 = 0
    package internal(set) var bytesReceived: UInt64 = 0
    /// Blocks that came when they were no longer wanted.
    package internal(set) var duplicateBlocks: UInt64 = 0
    package internal(set) var duplicateBytes: UInt64 = 0
    package internal(set) var blocksSent: UInt64 = 0
    package internal(set) var bytesSent: UInt64 = 0

    package init() {}

    func with(_ server: BitswapServer) -> BitswapStatistics {
        var copy = self
        copy.blocksSent = server.blocksSent
        copy.bytesSent = server.bytesSent
        return copy
    }
}
