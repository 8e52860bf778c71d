// What this peer is and how it does: id, status, peers, light, readiness.

import Foundation
package import Gateway
import Ledger
import LightClient
import NodeCore
import Primitives
import Records
import Storage
import Synchronization

/// Where the peer stands with its chain.
enum PeerState: String, Sendable {
    case ready, waiting, halted, draining

    var next: (sentence: String, action: String) {
        switch self {
        case .ready: ("Ask the starter model a question.", "ask")
        case .waiting: ("Check the addresses of the boot peers, or wait until one is up.", "wait")
        case .halted: ("More than a third of the committee is away; nothing is lost, wait until they are back.", "wait")
        case .draining: ("The peer is shutting down.", "none")
        }
    }
}

/// What status and readiness are made of, read in one go.
struct Standing: Sendable {
    var height: UInt64
    var tipTime: WallTime
    var isStalled: Bool
    var ownSeats: UInt64
    var quorum: UInt64
    var connected: Int
    var known: Int
    var free: Amount
}

extension PeerService {
    func standing() async throws(NodeFault) -> Standing {
        try await read { node in
            var known = Set(node.catalog.adverts.keys)
            known.formUnion(node.connectedPeers)
            known.formUnion(node.catalog.all(.datanet).map(\.owner.foundingKey.peerID))
            known.remove(node.peer)
            return Standing(
                height: node.height, tipTime: node.tip.time, isStalled: node.isStalled, ownSeats: node.ownSeats,
                quorum: node.committee.quorum, connected: node.connectedPeers.count, known: known.count,
                free: node.accountState(node.account).free)
        }
    }

    private var hasBootPeers: Bool { !peer.settings.list("bootstrap").isEmpty }

    func state(_ standing: Standing) -> PeerState {
        if isDraining.withLock({ $0 }) { return .draining }
        if hasBootPeers, standing.connected == 0, standing.ownSeats < standing.quorum { return .waiting }
        return standing.isStalled ? .halted : .ready
    }

    private func sentence(_ standing: Standing, _ state: PeerState) -> String {
        let age = max(0, (NodeDriver.wallTime().milliseconds - standing.tipTime.milliseconds) / 1000)
        switch state {
        case .ready where standing.height == 0: return "Ready: \(peers(standing.connected)), no batch yet."
        case .ready:
            return "Ready: \(peers(standing.connected)), batch \(standing.height) certified \(Self.ago(age))."
        case .waiting:
            return
                "Waiting: none of the boot peers answers (\(peer.settings.list("bootstrap").joined(separator: ", ")))."
        case .halted: return "Halted: the committee has no quorum since batch \(standing.height), \(Self.ago(age))."
        case .draining: return "Draining: what is under way is finished, then the peer ends."
        }
    }

    private func peers(_ count: Int) -> String { count == 1 ? "1 peer connected" : "\(count) peers connected" }

    private static func ago(_ seconds: Int64) -> String {
        switch seconds {
        case ..<120: "\(seconds) s ago"
        case ..<7200: "\(seconds / 60) min ago"
        default: "\(seconds / 3600) h ago"
        }
    }

    package func readiness() async -> Readiness {
        guard let standing = try? await standing() else {
            return Readiness(isReady: false, state: "draining", sentence: "The peer is stopping.")
        }
        let state = state(standing)
        return Readiness(isReady: state == .ready, state: state.rawValue, sentence: sentence(standing, state))
    }

    // MARK: id, status

    private var network: JSONValue {
        .object([
            "genesis": .string(peer.genesis.network.text), "name": .string(peer.genesis.name),
            "local": .bool(isLocalNetwork),
        ])
    }

    /// A network of this peer alone.
    var isLocalNetwork: Bool {
        peer.genesis.committee.members.count == 1 && peer.genesis.committee.index(of: handle.account) != nil
            && !hasBootPeers
    }

    func identity() async throws(NodeFault) -> JSONValue {
        .object([
            "peer": .string(handle.peer.text), "account": .string(handle.account.text),
            "addresses": .strings(await addresses().map { $0.with(peer: handle.peer).text }), "network": network,
            "role": .string(peer.settings.text("role")), "version": .string(RunningPeer.version),
        ])
    }

    func addresses() async -> [Multiaddr] { (try? await handle.listenAddresses()) ?? [] }

    /// Layers for others, and from them.
    private func layers() async -> JSONValue {
        let (served, used, offer) =
            (try? await handle.read { ($0.stagesServed, $0.stagesUsed, $0.layerOffer) })
            ?? (0, 0, LayerOffer(served: [], peers: []))
        return .object([
            "serves": .array(
                offer.served.map {
                    .object([
                        "model": .string($0.name), "first": .integer($0.layers.lowerBound),
                        "last": .integer($0.layers.upperBound - 1), "precision": .string($0.precision),
                    ])
                }), "sessions": .integer(served), "uses": .integer(used),
        ])
    }

    func status() async throws(NodeFault) -> JSONValue {
        let standing = try await standing()
        let state = state(standing)
        let balance = try await balance(of: handle.account)
        let audits = try await auditStanding()
        var next = state.next
        if state == .ready, standing.free == .zero, peer.genesis.faucet != nil {
            next = ("Take some OPEN from the faucet: openledger account faucet", "faucet")
        }
        let port = await addresses().lazy.compactMap(Self.port).first
        let isReached = try await connections().contains { !$0.outbound }
        let store = peer.store.store.statistics
        let shelf = peer.shelf.list()
        let used = UInt64(clamping: store.usedBytes) &+ shelf.reduce(UInt64(0)) { $0 &+ $1.bytes }
        return .object([
            "sentence": .string(sentence(standing, state)), "state": .string(state.rawValue),
            "next": .object(["sentence": .string(next.sentence), "action": .string(next.action)]),
            "peer": .string(handle.peer.text), "account": .string(handle.account.text),
            "role": .string(peer.settings.text("role")), "version": .string(RunningPeer.version),
            "uptime_s": .integer(max(0, NodeDriver.wallTime().milliseconds - peer.started.milliseconds) / 1000),
            "network": network.adding([
                JSONMember("height", .integer(standing.height)), JSONMember("synced", .bool(state != .waiting)),
                JSONMember("last_batch_ms", .time(standing.tipTime)),
            ]),
            "balance": .object([
                "free": .amount(balance.free), "locked": .amount(balance.locked), "staked": .amount(balance.staked),
                "pending": .amount(balance.pending),
            ]),
            "peers": .object(["connected": .integer(standing.connected), "known": .integer(standing.known)]),
            "reachability": .object([
                "state": .string(isReached ? "reachable" : port == nil ? "closed" : "unknown"),
                "port": port.map { JSONValue.integer($0) } ?? .null,
                "remedy": port == nil
                    ? .string("this peer listens nowhere; set listen, as in /ip4/0.0.0.0/tcp/4001") : .null,
            ]),
            "serving": .object([
                "models": .strings(
                    peer.settings.text("serve") == "true" ? shelf.filter { $0.kind == .model }.map(\.name) : []),
                "running": .integer(peer.inference.load.running), "queued": .integer(peer.inference.load.queued),
            ]),
            "layers": await layers(),
            "audits": audits,
            "keeping": try await keepingStatus(),
            "storage": .object([
                "used_bytes": .integer(used), "free_bytes": .integer(Self.freeBytes(at: peer.home.path) ?? 0),
            ]),
        ])
    }

    static func port(_ address: Multiaddr) -> UInt16? {
        for case .tcp(let port) in address.components { return port }
        return nil
    }

    static func freeBytes(at path: String) -> UInt64? {
        var info = statvfs()
        guard statvfs(path, &info) == 0 else { return nil }
        return UInt64(info.f_bavail) &* UInt64(info.f_frsize)
    }

    // MARK: peers

    func peers() async throws(NodeFault) -> JSONValue {
        let notes = try await connections()
        let (adverts, distrusted) = try await read { ($0.catalog.adverts, $0.auditBook.distrusted) }
        let standing = try await standing()
        let shown = notes.map { note in
            let distrust = note.peer.publicKey.flatMap { key in
                distrusted[key.account].map { Self.json(key.account, $0) }
            }
            return Self.json(note, serves: adverts[note.peer]?.models.map(\.name) ?? [])
                .adding([JSONMember("distrusted", distrust ?? .null)])
        }
        return .object([
            "peers": .array(shown),
            "known": .integer(standing.known),
        ])
    }

    static func json(_ note: ConnectionNote, serves: [String]) -> JSONValue {
        .object([
            "peer": .string(note.peer.text), "address": .string(note.address.text),
            "direction": .string(note.outbound ? "out" : "in"),
            "path": .string(note.address.components.contains(.circuit) ? "relayed" : "direct"),
            "latency_ms": note.latency.map { .double(($0.inSeconds * 10_000).rounded() / 10) } ?? .null,
            "agent": .string(note.agent),
            "connected_s": .integer(max(0, NodeDriver.wallTime().milliseconds - note.since.milliseconds) / 1000),
            "bytes_in": .null, "bytes_out": .null, "serves": .strings(serves),
        ])
    }

    func peerID(_ text: String, param: String = "peer") throws(NodeFault) -> PeerID {
        guard let id = PeerID(text: text) else {
            throw NodeFault(
                .invalid, "\"\(text.prefix(80))\" is no peer; one looks like 12D3Koo…", param: param,
                code: "invalid_value")
        }
        return id
    }

    func connect(_ text: String) async throws(NodeFault) -> JSONValue {
        let address: Multiaddr
        do { address = try Multiaddr(text: text) } catch {
            throw NodeFault(
                .invalid, "the address cannot be read (\(error)); one looks like /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…",
                param: "address", code: "invalid_value")
        }
        guard let wanted = address.peer else {
            throw NodeFault(
                .invalid, "the address does not end with the peer: /p2p/12D3Koo…", param: "address",
                code: "invalid_value")
        }
        guard wanted != handle.peer else {
            throw NodeFault(.invalid, "this is the peer's own address", param: "address", code: "own_address")
        }
        _ = await handle.perform(.dial(address))
        for _ in 0..<Self.connectTries {
            if let note = try await connections().first(where: { $0.peer == wanted }) {
                return Self.json(note, serves: [])
            }
            do { try await Task.sleep(for: .milliseconds(100)) } catch { throw Self.stopping }
        }
        throw NodeFault(
            .timeout, "\(address.text) does not answer; is the peer up and the port open?", param: "address",
            code: "no_answer", retryAfterSeconds: 10)
    }

    /// Tenths of a second.
    private static let connectTries = 100

    func disconnect(_ text: String) async throws(NodeFault) -> JSONValue {
        let id = try peerID(text)
        guard try await connections().contains(where: { $0.peer == id }) else {
            throw NodeFault.missing("\(id.text) is not connected", code: "not_connected")
        }
        _ = await handle.perform(.disconnect(id))
        return .object(["peer": .string(id.text), "disconnected": .bool(true)])
    }

    // MARK: light

    /// This peer follows the chain itself: its checkpoint is the genesis.
    func lightStatus() async throws(NodeFault) -> JSONValue {
        let tip = try await read { $0.tip }
        let standing = try await standing()
        let checkpoint = Checkpoint(peer.genesis)
        let age = max(0, NodeDriver.wallTime().milliseconds - peer.genesis.time.milliseconds) / 1000
        return .object([
            "height": .integer(tip.height), "epoch": .integer(tip.epoch),
            "checkpoint": .object([
                "header": .string(peer.genesis.network.text), "height": .integer(0), "age_s": .integer(age),
                // The genesis is trusted as the network is: it does not expire.
                "expires_s": checkpoint.time == nil ? .null : .integer(checkpoint.ageMillisecondsMax / 1000),
            ]),
            "synced": .bool(state(standing) != .waiting),
        ])
    }

    func lightSync(_ checkpoint: String?) async throws(NodeFault) -> JSONValue {
        if let checkpoint {
            guard let digest = Hex.decode(checkpoint).flatMap({ Digest($0) }) else {
                throw NodeFault(
                    .invalid, "a checkpoint is the 64 hexadecimal digits of a header", param: "checkpoint",
                    code: "invalid_value")
            }
            guard try await isOnChain(digest) else {
                throw NodeFault(
                    .unverified,
                    "this header is not on the chain that this peer follows; it may be of another network, or newer than what is here",
                    param: "checkpoint", code: "unknown_checkpoint")
            }
        }
        return try await lightStatus()
    }

    private func isOnChain(_ digest: Digest) async throws(NodeFault) -> Bool {
        if digest == peer.genesis.network.digest { return true }
        let tip = try await read { $0.tip }
        if tip.digest == digest { return true }
        // A checkpoint is the last header of an epoch, or a recent one.
        let ends = try stored { () throws(StorageFault) -> [Handover] in try epochs.handovers(to: tip.epoch) }
        if ends.contains(where: { $0.header.digest == digest }) { return true }
        for height in stride(from: tip.height, to: tip.height > 256 ? tip.height - 256 : 0, by: -1) {
            let batch = try stored { () throws(StorageFault) -> CertifiedBatch? in try peer.store.batch(height) }
            if batch?.header.digest == digest { return true }
        }
        return false
    }
}
