// Finding more peers through those who are there: everyone tells, when asked, whom he is connected to and where they
// listen. What is told is only dialled, never believed: the handshake proves who answers. (Kademlia comes with the peer
// network; this keeps small networks whole.)

import Primitives

extension Node {
    /// Connections below which more peers are looked for.
    static let connectionsWanted = 12
    static let addressesPerPeerMax = 8
    static let acquaintancesMax = 32
    private static let answerBytesMax = 32 << 10

    /// Identify told where a connected peer listens.
    mutating func identified(_ peer: PeerID, _ addresses: [Multiaddr]) {
        links.setAddresses(Array(addresses.prefix(Self.addressesPerPeerMax)), of: peer)
        askPeers(peer)
    }

    mutating func askPeers(_ peer: PeerID) {
        guard links.connected.count < Self.connectionsWanted else { return }
        let stream = links.open(peer, .peersAsked)
        effects.append(.open(stream, peer, protocols: [NodeProtocol.catalog]))
        send(CBOR.map(["type": .text("peers")]).encoded(), on: stream)
    }

    mutating func servePeers(on stream: StreamID, to asker: PeerID) {
        var known: [CBOR] = []
        for peer in links.connected where peer != asker && known.count < Self.acquaintancesMax {
            let addresses = links.addresses(of: peer)
            guard !addresses.isEmpty else { continue }
            known.append(.array([.peer(peer), .array(addresses.map { .bytes($0.bytes) })]))
        }
        send(CBOR.map(["peers": .array(known)]).encoded(), on: stream)
        finish(stream)
    }

    mutating func peersReceived(_ bytes: [UInt8], from peer: PeerID) {
        do {
            let limits = CBORLimits(bytesMax: Self.answerBytesMax)
            var fields = try CBORFields(decoding: bytes, "Peers", limits: limits)
            let items = try fields.array("peers", max: Self.acquaintancesMax)
            try fields.finish()
            for item in items { try meet(item, fields) }
        } catch {
            blame(peer, "peers: \(error)")
        }
    }

    private mutating func meet(_ item: CBOR, _ fields: CBORFields) throws(CBORFault) {
        guard case .array(let parts) = item, parts.count == 2, case .bytes(let name) = parts[0],
            let other = PeerID(multihash: name), case .array(let addresses) = parts[1],
            addresses.count <= Self.addressesPerPeerMax
        else { throw fields.fault("peers", "holds something that is not [peer, addresses]") }
        guard other != peer, !links.isConnected(other), links.connected.count < Self.connectionsWanted else { return }
        for address in addresses {
            guard case .bytes(let raw) = address, let parsed = try? Multiaddr(bytes: raw) else { continue }
            effects.append(.dial(parsed.with(peer: other)))
        }
    }

    /// Asks one of the connected peers, in turn, while there are few.
    mutating func lookForPeers() {
        let connected = links.connected
        guard !connected.isEmpty, connected.count < Self.connectionsWanted else { return }
        acquaintanceCursor = (acquaintanceCursor + 1) % connected.count
        askPeers(connected[acquaintanceCursor])
    }
}
