// Fetching content: one walk over the links of a root a pull, one Bitswap session for it, every block verified where it
// comes in. What was stored is served to others at once. A pull that nobody can serve ends: it is said what is missing,
// what came stays on disk, and the same pull goes on from there.
//
//   pulling ── all is here ──▶ pulled
//      │ ▲ a block, or a peer not seen before: more time
//      ▼ │
//   waiting ── no block for `patience` ──▶ failed, timedOut

import BlockExchange
import Primitives

struct PullDesk: Sendable {
    /// A pull, of a datanet too, ends when no block of it came for this long. It is three rounds of asking
    /// (`BitswapParameters.retry`).
    static let patience = Span.seconds(30)
    /// A peer that comes while a pull waits has at least this long.
    static let newcomerPatience = Span.seconds(15)

    struct Pull: Sendable {
        var fetch: Fetch
        let session: SessionID
        var commands: [CommandID]
        var servers: Set<PeerID> = []
        let onlyFrom: PeerID?
        var deadline: Instant
        /// Were there while this pull ran.
        var seen: Set<PeerID>
        /// Blocks that no connected peer has.
        var missing: Set<CID> = []
    }

    enum Read: Sendable {
        case forPull(CID, root: CID, needsBytes: Bool)
        case forPeer(CID, PeerID)
        case forFind(CID, PeerID)
    }

    var pulls: [CID: Pull] = [:]
    var reads: [Ticket: Read] = [:]
    private var lastSession: UInt64 = 0

    mutating func session() -> SessionID {
        lastSession += 1
        return SessionID(lastSession)
    }

    func root(of session: SessionID) -> CID? {
        pulls.filter { $0.value.session == session }.map(\.key).min()
    }
}

extension Node {
    mutating func pull(_ root: CID, from provider: PeerID?, _ command: CommandID?) {
        if var pull = pulls.pulls[root] {
            if let command { pull.commands.append(command) }
            pulls.pulls[root] = pull
            return
        }
        guard pulls.pulls.count < Self.pullsMax else {
            if let command { effects.append(.answer(command, .failed(.tooMany("pulls", max: Self.pullsMax)))) }
            return
        }
        var parameters = FetchParameters()
        parameters.keysNotFollowed = ["previous", "base"]
        let providers = provider.map { [$0] } ?? links.connected
        let pull = PullDesk.Pull(
            fetch: Fetch(root: root, parameters: parameters), session: pulls.session(),
            commands: command.map { [$0] } ?? [], onlyFrom: provider, deadline: moment.instant + PullDesk.patience,
            seen: Set(providers))
        pulls.pulls[root] = pull
        exchange(bitswap.handle(.providers(pull.session, providers), now: moment.instant))
        step(root, .start)
    }

    mutating func offerProviders(_ peers: [PeerID]) {
        let least = moment.instant + PullDesk.newcomerPatience
        exchange(bitswap.handle(.providers(HoldingDesk.session, peers), now: moment.instant))
        if !keeping.wanted.isEmpty {
            exchange(bitswap.handle(.providers(KeepDesk.session, peers), now: moment.instant))
        }
        holding.offer(peers, until: least)
        for root in pulls.pulls.keys.sorted() {
            guard var pull = pulls.pulls[root], pull.onlyFrom == nil || peers.contains(where: { $0 == pull.onlyFrom })
            else { continue }
            // Once for each peer: one that comes and goes does not keep a pull waiting.
            for peer in peers where pull.seen.insert(peer).inserted { pull.deadline = max(pull.deadline, least) }
            pulls.pulls[root] = pull
            exchange(bitswap.handle(.providers(pull.session, peers), now: moment.instant))
        }
    }

    private mutating func step(_ root: CID, _ event: FetchEvent) {
        guard var pull = pulls.pulls[root] else { return }
        let steps = pull.fetch.handle(event)
        pulls.pulls[root] = pull
        for step in steps { perform(step, root) }
    }

    private mutating func perform(_ effect: FetchEffect, _ root: CID) {
        guard let pull = pulls.pulls[root] else { return }
        switch effect {
        case .look(let cid, let needsBytes):
            let ticket = ticket()
            pulls.reads[ticket] = .forPull(cid, root: root, needsBytes: needsBytes)
            effects.append(.load(cid, ticket))
        case .want(let cids): exchange(bitswap.handle(.want(pull.session, cids), now: moment.instant))
        case .store(let block): persist([.block(block.cid, block.bytes)], then: [.stored([block.cid])])
        case .place: break
        case .unfinished: step(root, .proceed)
        case .progress(let progress):
            for command in pull.commands {
                effects.append(
                    .answer(
                        command,
                        .progress(blocks: progress.blocks, bytes: progress.bytes, bytesKnown: progress.bytesKnown)))
            }
        case .done(let progress):
            close(root)
            let answers = pull.commands.map { command in
                NodeContinuation.effect(
                    .answer(
                        command,
                        .pulled(root, bytes: progress.bytes, blocks: progress.blocks, from: pull.servers.sorted())))
            }
            // Behind every block's write: the marker is durable when all of it is.
            persist(
                [.put(.meta, key: MetaKey.contentPrefix + root.bytes, value: [1])],
                then: [.effect(.notify(.contentComplete(root)))] + answers)
        case .failed(let fault):
            close(root)
            for command in pull.commands { effects.append(.answer(command, .failed(.content("\(fault)")))) }
        }
    }

    /// Ends the pulls that nobody serves.
    mutating func giveUpPulls() {
        for root in pulls.pulls.keys.sorted() {
            guard let pull = pulls.pulls[root], pull.deadline <= moment.instant else { continue }
            let wanted = pull.fetch.wanted
            let lacking = wanted.first { pull.missing.contains($0) }
            let reason = Self.unserved(lacking ?? wanted.first ?? root, of: "\(root)", isNowhere: lacking != nil)
            close(root)
            for command in pull.commands { effects.append(.answer(command, .failed(.timedOut(reason)))) }
        }
    }

    static func unserved(_ cid: CID, of what: String, isNowhere: Bool) -> String {
        let who = isNowhere ? "no connected peer has block" : "the connected peers do not send block"
        return
            "\(who) \(cid) of \(what), for \(Int(PullDesk.patience.inSeconds)) s; what came is kept: connect to a peer that has it (openledger peers --connect ADDRESS) and pull again"
    }

    private mutating func close(_ root: CID) {
        guard let pull = pulls.pulls.removeValue(forKey: root) else { return }
        exchange(bitswap.handle(.close(pull.session), now: moment.instant))
    }

    mutating func exchange(_ bitswapEffects: [BitswapEffect]) {
        for effect in bitswapEffects {
            switch effect {
            case .send(let peer, let bytes): send(bytes, to: peer, .bitswap)
            case .block(let session, let block, let peer):
                if session == HoldingDesk.session {
                    datanetBlock(block, from: peer)
                    continue
                }
                if session == KeepDesk.session {
                    keepingBlock(block)
                    continue
                }
                guard let root = pulls.root(of: session) else { continue }
                pulls.pulls[root]?.servers.insert(peer)
                pulls.pulls[root]?.missing.remove(block.cid)
                pulls.pulls[root]?.deadline = moment.instant + PullDesk.patience
                step(root, .block(block))
            case .load(let cid, let peer):
                let ticket = ticket()
                pulls.reads[ticket] = .forPeer(cid, peer)
                effects.append(.load(cid, ticket))
            case .find(let cid, let peer):
                let ticket = ticket()
                pulls.reads[ticket] = .forFind(cid, peer)
                effects.append(.load(cid, ticket))
            case .fault(let peer, let fault): blame(peer, "bitswap: \(fault)")
            case .damaged(let cid): effects.append(.notify(.log("block \(cid) is damaged on this disk")))
            case .refused(let session, let cids):
                guard let root = pulls.root(of: session) else { continue }
                effects.append(.notify(.log("pull of \(root): \(cids.count) blocks beyond the limits")))
            case .unavailable(let session, let cid):
                if session == HoldingDesk.session {
                    holding.missing.insert(cid)
                } else if session == KeepDesk.session {
                    keepingUnavailable(cid)
                } else if let root = pulls.root(of: session) {
                    pulls.pulls[root]?.missing.insert(cid)
                }
            }
        }
    }

    mutating func loaded(_ ticket: Ticket, _ bytes: [UInt8]?) {
        if let cid = holding.reads.removeValue(forKey: ticket) { return datanetLoaded(cid, bytes) }
        if keepingLoaded(ticket, bytes) { return }
        guard let read = pulls.reads.removeValue(forKey: ticket) else { return }
        switch read {
        case .forPeer(let cid, let peer):
            exchange(bitswap.handle(.loaded(cid, bytes, for: peer), now: moment.instant))
        case .forFind(let cid, let peer):
            exchange(bitswap.handle(.found(cid, bytes != nil, for: peer), now: moment.instant))
        case .forPull(let cid, let root, let needsBytes):
            if bytes != nil { pulls.pulls[root]?.deadline = moment.instant + PullDesk.patience }
            let local: LocalBlock = bytes.map { needsBytes ? .bytes($0) : .present } ?? .absent
            step(root, .local(cid, local))
        }
    }
}
