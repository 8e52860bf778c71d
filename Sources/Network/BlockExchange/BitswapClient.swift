// The asking side. A want is asked of one peer at a time; the others of its sessions are asked at most whether they have
// it, so that blocks rarely come twice.
//
//   waiting ── a provider has room ──▶ asked(peer) ── block ──▶ done
//      ▲                                  │ DONT_HAVE            ▲
//      │                                  │ peer stalled, gone,  │ (a late block counts as well)
//      │                                  ▼ or sent damage       │
//      ├── another may have it ◀──────────┤
//      │                                  │ nobody is left
//      └── retry, new provider ◀── parked ◀

internal import Primitives

struct BitswapClient: Sendable {
    enum WantState: Hashable, Sendable {
        case waiting
        case asked(PeerID)
        case parked(until: Instant)
    }

    struct Want: Sendable {
        var sessions: Set<SessionID>
        let order: UInt64
        var state = WantState.waiting
        /// Said that they have it.
        var holders: Set<PeerID> = []
        /// Said that they have it not, or had their chance.
        var lackers: Set<PeerID> = []
        /// Have an entry for it from us that needs a cancel.
        var contacted: Set<PeerID> = []
    }

    struct Session: Sendable {
        var providers: Set<PeerID> = []
        var wants: Set<CID> = []
        /// Someone has delivered: no need to ask all others about every block.
        var isWarm = false
    }

    struct Provider: Sendable {
        var inFlight: Set<CID> = []
        var window: Int
        var lastProgress: Instant = .start
        var isBanned = false
        /// DONT_HAVEs since the last block.
        var lackStreak = 0
    }

    let parameters: BitswapParameters
    private(set) var sessions: [SessionID: Session] = [:]
    private var wants: [CID: Want] = [:]
    private var providers: [PeerID: Provider] = [:]
    private var nextOrder: UInt64 = 0
    private var entries: [PeerID: [WantEntry]] = [:]
    private var recent: RecentCIDs
    private(set) var statistics = BitswapStatistics()
    private var needsAssignment = false

    init(parameters: BitswapParameters) {
        self.parameters = parameters
        recent = RecentCIDs(countMax: parameters.recentMax)
    }

    // MARK: Peers and sessions

    mutating func connect(_ peer: PeerID) {
        providers[peer] = Provider(window: parameters.windowFirst)
        revive(wantsOf: sessions.filter { $0.value.providers.contains(peer) }.keys.sorted())
    }

    mutating func disconnect(_ peer: PeerID) {
        release(peer, blame: false)
        providers[peer] = nil
        entries[peer] = nil
        for cid in wants.keys {
            wants[cid]?.holders.remove(peer)
            wants[cid]?.lackers.remove(peer)
            wants[cid]?.contacted.remove(peer)
        }
    }

    mutating func add(_ peers: [PeerID], to session: SessionID, _ effects: inout [BitswapEffect]) {
        guard open(session, &effects) else { return }
        let room = parameters.providersPerSessionMax - (sessions[session]?.providers.count ?? 0)
        let new = peers.filter { sessions[session]?.providers.contains($0) == false }
        sessions[session]?.providers.formUnion(new.prefix(max(0, room)))
        revive(wantsOf: [session])
    }

    mutating func want(_ cids: [CID], in session: SessionID, _ effects: inout [BitswapEffect]) {
        guard open(session, &effects) else { return }
        var refused: [CID] = []
        for cid in cids {
            if wants[cid] != nil {
                wants[cid]?.sessions.insert(session)
            } else if wants.count < parameters.wantsMax {
                wants[cid] = Want(sessions: [session], order: nextOrder)
                nextOrder += 1
            } else {
                refused.append(cid)
                continue
            }
            sessions[session]?.wants.insert(cid)
        }
        if !refused.isEmpty { effects.append(.refused(session, refused)) }
        needsAssignment = true
    }

    mutating func forget(_ cids: [CID], of session: SessionID) {
        for cid in cids where sessions[session]?.wants.remove(cid) != nil {
            wants[cid]?.sessions.remove(session)
            if wants[cid]?.sessions.isEmpty == true { drop(cid, besides: nil) }
        }
    }

    mutating func close(_ session: SessionID) {
        forget((sessions[session]?.wants ?? []).sorted(), of: session)
        sessions[session] = nil
    }

    private mutating func open(_ session: SessionID, _ effects: inout [BitswapEffect]) -> Bool {
        guard sessions[session] == nil else { return true }
        guard sessions.count < parameters.sessionsMax else {
            effects.append(.refused(session, []))
            return false
        }
        sessions[session] = Session()
        return true
    }

    /// New peers may have what nobody had.
    private mutating func revive(wantsOf list: [SessionID]) {
        for session in list {
            for cid in sessions[session]?.wants ?? [] {
                if case .parked = wants[cid]?.state { wants[cid]?.state = .waiting }
            }
        }
        needsAssignment = true
    }

    // MARK: What comes in

    mutating func receive(_ block: Block, from peer: PeerID, now: Instant, _ effects: inout [BitswapEffect]) {
        let cid = block.cid
        guard let want = wants[cid] else {
            if recent.contains(cid) {
                statistics.duplicateBlocks += 1
                statistics.duplicateBytes += UInt64(block.bytes.count)
            } else if providers[peer]?.inFlight.isEmpty == false {
                effects.append(.fault(peer, .corruptBlock(got: cid)))
                release(peer, blame: true)
                providers[peer]?.isBanned = true
            } else {
                effects.append(.fault(peer, .unwantedBlock(cid)))
            }
            return
        }
        statistics.blocksReceived += 1
        statistics.bytesReceived += UInt64(block.bytes.count)
        if var provider = providers[peer] {
            provider.lastProgress = now
            provider.lackStreak = 0
            provider.window = min(provider.window + 1, parameters.windowMax)
            providers[peer] = provider
        }
        for session in want.sessions.sorted() {
            sessions[session]?.isWarm = true
            sessions[session]?.wants.remove(cid)
            effects.append(.block(session, block, from: peer))
        }
        drop(cid, besides: peer)
    }

    mutating func receive(_ presence: Presence, from peer: PeerID, _ effects: inout [BitswapEffect]) {
        guard var want = wants[presence.cid], providers[peer]?.isBanned == false else { return }
        if presence.has {
            want.holders.insert(peer)
            want.lackers.remove(peer)
            if case .parked = want.state { want.state = .waiting }
            wants[presence.cid] = want
        } else {
            if want.holders.remove(peer) != nil, want.state == .asked(peer) {
                effects.append(.fault(peer, .brokenPromise(presence.cid)))
            }
            want.lackers.insert(peer)
            providers[peer]?.lackStreak += 1
            let wasAsked = want.state == .asked(peer)
            if wasAsked {
                want.state = .waiting
                providers[peer]?.inFlight.remove(presence.cid)
            }
            wants[presence.cid] = want
            if wasAsked { probe(presence.cid) }
        }
        needsAssignment = true
    }

    mutating func tick(now: Instant, _ effects: inout [BitswapEffect]) {
        for peer in providers.keys.sorted() {
            guard let provider = providers[peer], !provider.inFlight.isEmpty,
                now.since(provider.lastProgress) >= parameters.patience
            else { continue }
            effects.append(.fault(peer, .stalled(requests: provider.inFlight.count)))
            release(peer, blame: true)
            providers[peer]?.window = 1
        }
        for (cid, want) in wants {
            guard case .parked(let until) = want.state, until <= now else { continue }
            // Everyone gets another chance, those who stalled as well.
            wants[cid]?.lackers = []
            wants[cid]?.state = .waiting
        }
        needsAssignment = true
    }

    // MARK: Asking

    /// Gives waiting wants to providers that have room, in the order in which they were wanted.
    mutating func assign(now: Instant, _ effects: inout [BitswapEffect]) {
        guard needsAssignment else { return }
        needsAssignment = false
        let waiting = wants.filter { $0.value.state == .waiting }.sorted { $0.value.order < $1.value.order }
        for (cid, want) in waiting {
            let able = candidates(want)
            guard !able.isEmpty else {
                wants[cid]?.state = .parked(until: now + parameters.retry)
                for session in want.sessions.sorted() { effects.append(.unavailable(session, cid)) }
                continue
            }
            guard let peer = best(of: able, for: want) else { continue }
            ask(peer, cid, now: now)
            if want.sessions.contains(where: { sessions[$0]?.isWarm == false }) { probe(cid) }
        }
    }

    /// Connected providers of the want's sessions that may have it.
    private func candidates(_ want: Want) -> Set<PeerID> {
        var able: Set<PeerID> = []
        for session in want.sessions { able.formUnion(sessions[session]?.providers ?? []) }
        return able.filter { providers[$0]?.isBanned == false && !want.lackers.contains($0) }
    }

    /// Whoever said that it has the block, then who lacked least lately, then who is least busy for its window.
    private func best(of able: Set<PeerID>, for want: Want) -> PeerID? {
        let free = able.filter { peer in providers[peer].map { $0.inFlight.count < $0.window } ?? false }
        return free.min { left, right in
            let (isLeftHolder, isRightHolder) = (want.holders.contains(left), want.holders.contains(right))
            if isLeftHolder != isRightHolder { return isLeftHolder }
            guard let first = providers[left], let second = providers[right] else { return left < right }
            if first.lackStreak != second.lackStreak { return first.lackStreak < second.lackStreak }
            let (firstLoad, secondLoad) = (
                first.inFlight.count * second.window, second.inFlight.count * first.window
            )
            return firstLoad == secondLoad ? left < right : firstLoad < secondLoad
        }
    }

    private mutating func ask(_ peer: PeerID, _ cid: CID, now: Instant) {
        guard var provider = providers[peer], let order = wants[cid]?.order else { return }
        if provider.inFlight.isEmpty { provider.lastProgress = now }
        provider.inFlight.insert(cid)
        providers[peer] = provider
        wants[cid]?.state = .asked(peer)
        wants[cid]?.contacted.insert(peer)
        // Earlier wants are more urgent; the wrap after 2^30 blocks only disturbs the order once.
        let priority = Int32.max - Int32(order & 0x3fff_ffff)
        entries[peer, default: []].append(WantEntry(cid: cid, kind: .block, priority: priority))
    }

    /// Asks every other provider whether it has the block.
    private mutating func probe(_ cid: CID) {
        guard let want = wants[cid] else { return }
        for peer in candidates(want).sorted() where !want.contacted.contains(peer) && !want.holders.contains(peer) {
            wants[cid]?.contacted.insert(peer)
            entries[peer, default: []].append(WantEntry(cid: cid, kind: .have))
        }
    }

    // MARK: Letting go

    /// Takes back what the peer was asked for; `blame` keeps these wants from going to it again at once.
    private mutating func release(_ peer: PeerID, blame: Bool) {
        for cid in (providers[peer]?.inFlight ?? []).sorted() {
            guard wants[cid]?.state == .asked(peer) else { continue }
            wants[cid]?.state = .waiting
            wants[cid]?.contacted.remove(peer)
            if blame {
                wants[cid]?.lackers.insert(peer)
                entries[peer, default: []].append(WantEntry(cid: cid, isCancel: true))
            }
        }
        providers[peer]?.inFlight = []
        needsAssignment = true
    }

    /// The want is over: whoever was asked and has not answered is told.
    private mutating func drop(_ cid: CID, besides answered: PeerID?) {
        guard let want = wants.removeValue(forKey: cid) else { return }
        recent.insert(cid)
        for peer in want.contacted.sorted() {
            let wasInFlight = providers[peer]?.inFlight.remove(cid) != nil
            if peer != answered, wasInFlight || !want.lackers.contains(peer) {
                entries[peer, default: []].append(WantEntry(cid: cid, isCancel: true))
            }
        }
        needsAssignment = true
    }

    /// What is to be said to each peer; of several entries for one block only the last counts.
    mutating func takeEntries() -> [PeerID: [WantEntry]] {
        defer { entries = [:] }
        return entries.mapValues { list in
            var known: Set<CID> = []
            return Array(list.reversed().filter { known.insert($0.cid).inserted }.reversed())
        }
    }
}

/// The last blocks that were had or given up.
struct RecentCIDs: Sendable {
    private var set: Set<CID> = []
    private var ring: [CID] = []
    private var next = 0
    private let countMax: Int

    init(countMax: Int) { self.countMax = countMax }

    func contains(_ cid: CID) -> Bool { set.contains(cid) }

    mutating func insert(_ cid: CID) {
        guard set.insert(cid).inserted else { return }
        if ring.count < countMax {
            ring.append(cid)
        } else {
            set.remove(ring[next])
            ring[next] = cid
            next = (next + 1) % countMax
        }
    }
}
