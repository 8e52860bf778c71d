// The answering side. Wants of all peers compete for a few reads of the store; the next read goes to the peer that was
// served the fewest bytes lately, so that one who asks for much does not starve one who asks for little.
//
//   want-block ──▶ queued ── a place is free ──▶ loading ── loaded ──▶ sent
//                                                  │ not there
//                                                  ▼
//   want-have ──▶ find ── not there ──▶ waiting (DONT_HAVE is said if asked for) ── stored ──▶ queued / HAVE

internal import Primitives

struct BitswapServer: Sendable {
    private struct Queued: Sendable {
        let entry: WantEntry
        let arrival: UInt64
    }

    private struct Ledger: Sendable {
        var queue: [Queued] = []
        var loading: [CID: WantEntry] = [:]
        /// Not in the store when asked for; kept in case they come.
        var waiting: [CID: WantEntry] = [:]
        var isCongested = false
        /// Halved every tick.
        var bytesServedLately = 0

        var count: Int { queue.count + loading.count + waiting.count }
    }

    private let parameters: BitswapParameters
    private var ledgers: [PeerID: Ledger] = [:]
    private var presences: [PeerID: [Presence]] = [:]
    private var arrivals: UInt64 = 0
    private(set) var blocksSent: UInt64 = 0
    private(set) var bytesSent: UInt64 = 0

    init(parameters: BitswapParameters) { self.parameters = parameters }

    mutating func connect(_ peer: PeerID) { ledgers[peer] = Ledger() }

    mutating func disconnect(_ peer: PeerID) {
        ledgers[peer] = nil
        presences[peer] = nil
    }

    mutating func setCongested(_ peer: PeerID, _ isCongested: Bool) { ledgers[peer]?.isCongested = isCongested }

    mutating func tick() {
        for peer in ledgers.keys { ledgers[peer]?.bytesServedLately /= 2 }
    }

    mutating func receive(
        _ entries: [WantEntry], isFull: Bool, from peer: PeerID, _ effects: inout [BitswapEffect]
    ) {
        guard var ledger = ledgers[peer] else { return }
        if isFull {
            ledger.queue = []
            ledger.waiting = [:]
        }
        for entry in entries {
            // A want replaces an earlier one for the same block; a cancel only removes it.
            ledger.queue.removeAll { $0.entry.cid == entry.cid }
            ledger.waiting[entry.cid] = nil
            guard !entry.isCancel else {
                ledger.loading[entry.cid] = nil
                continue
            }
            guard ledger.count < parameters.wantsPerPeerMax else {
                effects.append(.fault(peer, .wantListFull(max: parameters.wantsPerPeerMax)))
                break
            }
            switch entry.kind {
            case .block: insert(entry, &ledger.queue)
            case .have:
                ledger.waiting[entry.cid] = entry
                effects.append(.find(entry.cid, for: peer))
            }
        }
        ledgers[peer] = ledger
    }

    /// Keeps the queue in order: higher priority first, then first come.
    private mutating func insert(_ entry: WantEntry, _ queue: inout [Queued]) {
        let queued = Queued(entry: entry, arrival: arrivals)
        arrivals += 1
        let index = queue.lastIndex { $0.entry.priority >= entry.priority }.map { $0 + 1 } ?? 0
        queue.insert(queued, at: index)
    }

    mutating func found(_ cid: CID, _ has: Bool, for peer: PeerID) {
        guard let entry = ledgers[peer]?.waiting[cid] else { return }
        if has {
            ledgers[peer]?.waiting[cid] = nil
            presences[peer, default: []].append(Presence(cid: cid, isLegacy: entry.isLegacy, has: true))
        } else if entry.wantsDontHave {
            presences[peer, default: []].append(Presence(cid: cid, isLegacy: entry.isLegacy, has: false))
        }
    }

    mutating func loaded(_ cid: CID, _ bytes: [UInt8]?, for peer: PeerID, _ effects: inout [BitswapEffect]) {
        guard let entry = ledgers[peer]?.loading.removeValue(forKey: cid) else { return }
        var block: Block?
        if let bytes {
            block = Block(cid, verifying: bytes)
            if block == nil { effects.append(.damaged(cid)) }
        }
        guard let block else {
            ledgers[peer]?.waiting[cid] = entry
            if entry.wantsDontHave {
                presences[peer, default: []].append(Presence(cid: cid, isLegacy: entry.isLegacy, has: false))
            }
            return
        }
        let message = ExchangeMessage(blocks: [block])
        blocksSent += 1
        bytesSent += UInt64(block.bytes.count)
        ledgers[peer]?.bytesServedLately += block.bytes.count
        effects.append(.send(peer, message.written()))
    }

    /// Serves those who asked for these blocks when they were not there.
    mutating func stored(_ cids: [CID]) {
        for peer in ledgers.keys.sorted() {
            for cid in cids {
                guard let entry = ledgers[peer]?.waiting.removeValue(forKey: cid) else { continue }
                switch entry.kind {
                case .have:
                    presences[peer, default: []].append(Presence(cid: cid, isLegacy: entry.isLegacy, has: true))
                case .block:
                    guard var ledger = ledgers[peer] else { continue }
                    insert(entry, &ledger.queue)
                    ledgers[peer] = ledger
                }
            }
        }
    }

    /// Starts reads while there are places.
    mutating func pump(_ effects: inout [BitswapEffect]) {
        var loads = ledgers.reduce(0) { $0 + $1.value.loading.count }
        while loads < parameters.loadsMax, let peer = next(), var ledger = ledgers[peer] {
            let entry = ledger.queue.removeFirst().entry
            ledger.loading[entry.cid] = entry
            ledgers[peer] = ledger
            loads += 1
            effects.append(.load(entry.cid, for: peer))
        }
    }

    private func next() -> PeerID? {
        var best: (peer: PeerID, served: Int)?
        for (peer, ledger) in ledgers
        where !ledger.queue.isEmpty && !ledger.isCongested && ledger.loading.count < parameters.loadsPerPeerMax {
            // The smaller peer ID decides a tie, so that the order of the dictionary never does.
            let served = ledger.bytesServedLately
            if let (bestPeer, bestServed) = best, (served, peer) >= (bestServed, bestPeer) { continue }
            best = (peer, served)
        }
        return best?.peer
    }

    mutating func takePresences() -> [PeerID: [Presence]] {
        defer { presences = [:] }
        return presences
    }
}
