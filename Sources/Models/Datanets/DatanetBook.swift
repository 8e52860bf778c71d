// Which datanets this peer knows, what is in them, and what waits for its owner. A pure core: blocks and announcements
// come in as events, what to fetch, store, announce and remember goes out as effects. It holds manifests and hashes,
// never rows.
//
//     announced (newer revision) ──▶ wanting manifest ──▶ wanting contributions and shards ──▶ held, `changed`
//                                          │ bad signature, fork, rewritten, wrong content
//                                          └──▶ `refused`; what was held stays as it was
//
//     contribution to a datanet of ours ──▶ wanting ──▶ checked ──open──▶ accepted: next revision, announced
//                                                           └─approval─▶ `waiting` ──approve/refuse──▶
//
// "Durable, then visible": `store` and `remember` stand before the `announce` that relies on them; the performer keeps
// that order.

package import Primitives
package import Records

package enum DatanetEvent: Sendable {
    /// A catalog entry of kind datanet or contribution, its signature checked by whoever received it.
    case announced(CatalogEntry)
    /// An entry that an earlier run asked to `remember`: taken up again, not announced again.
    case held(CatalogEntry)
    /// A block that was wanted.
    case block(CID, [UInt8])
    /// A block that was wanted and that nobody has.
    case unavailable(CID)
}

package struct DatanetBlock: Hashable, Sendable {
    package let cid: CID
    package let bytes: [UInt8]
}

package enum DatanetEffect: Hashable, Sendable {
    case store([DatanetBlock])
    case want([CID])
    /// Keep this entry on disk and hand it back as `held` at the next start.
    case remember(CatalogEntry)
    case forget(CatalogEntry)
    /// Normalised hashes of a contribution's rows, all checked: kept, they spare the next start reading the rows.
    case checked(CID, [Digest])
    /// Sign this entry and tell the network.
    case announce(CatalogEntry)
    /// The datanet is now complete here at this snapshot.
    case changed(DatanetID, snapshot: CID)
    /// A contribution to a datanet of this peer's owner is checked and waits for `approve` or `refuse`.
    case waiting(DatanetID, contribution: CID, ContributionReport)
    case refused(CID, DatanetFault)
}

/// What an owner sees before deciding.
package struct ContributionReport: Hashable, Sendable {
    package let contributor: AccountID
    package let rowCount: UInt64
    package let byteCount: UInt64
    /// Rows that are in the datanet already, or twice in the contribution; they earn once, for whoever was first.
    package let duplicates: UInt64
}

package struct DatanetBook: Sendable {
    struct Held: Sendable {
        var manifest: DatanetManifest
        var snapshot: CID
        var contributions: [CID: Contribution]
        /// Normalised hashes of all rows.
        var rowHashes: Set<Digest>
    }

    /// A newer revision that is being fetched.
    struct Pull: Sendable {
        let entry: CatalogEntry
        var manifest: DatanetManifest?
        var intakes: [CID: ContributionIntake] = [:]
    }

    let key: SigningKey
    let network: NetworkID
    var account: AccountID { key.publicKey.account }
    var held: [DatanetID: Held] = [:]
    var pulls: [DatanetID: Pull] = [:]
    /// Contributions of others to datanets of ours, until they are decided.
    var proposals: [CID: ContributionIntake] = [:]
    /// The highest sequence that this peer has signed for a datanet of somebody else's.
    var signedSequences: [DatanetID: UInt64] = [:]

    /// What an earlier run `checked`, until it is used.
    private var checked: [CID: [Digest]]

    package init(key: SigningKey, network: NetworkID, checked: [CID: [Digest]] = [:]) {
        self.key = key
        self.network = network
        self.checked = checked
    }

    // MARK: what is known

    package var ids: [DatanetID] { held.keys.sorted() }
    package func manifest(_ id: DatanetID) -> DatanetManifest? { held[id]?.manifest }
    package func snapshot(_ id: DatanetID) -> CID? { held[id]?.snapshot }

    /// Whether the datanet is here, or is being fetched.
    package func isKnown(_ id: DatanetID) -> Bool { held[id] != nil || pulls[id] != nil }

    /// The datanet of that name; of several, the one with the lowest id (names are not unique, ids are).
    package func id(named name: String) -> DatanetID? { ids.first { held[$0]?.manifest.name == name } }

    /// Accepted contributions in order.
    package func contributions(_ id: DatanetID) -> [(cid: CID, contribution: Contribution)] {
        guard let held = held[id] else { return [] }
        return held.manifest.contributions.compactMap { cid in held.contributions[cid].map { (cid, $0) } }
    }

    /// Every shard in order: what an index is built from.
    package func shards(_ id: DatanetID) -> [CID] { contributions(id).flatMap(\.contribution.shards) }

    /// Contributions that are checked and wait for the owner, ascending by CID.
    package var waiting: [CID] { proposals.values.filter(\.isComplete).map(\.cid).sorted() }

    /// Blocks that a peer fetches to hold the datanet.
    package func wanted() -> [CID] {
        var wanted: [CID] = []
        for id in pulls.keys.sorted() { wanted += missing(of: id) }
        for cid in proposals.keys.sorted() { wanted += proposals[cid]?.missing ?? [] }
        return wanted
    }

    func missing(of id: DatanetID) -> [CID] {
        guard let pull = pulls[id] else { return [] }
        guard pull.manifest != nil else { return [pull.entry.root] }
        return pull.intakes.keys.sorted().flatMap { pull.intakes[$0]?.missing ?? [] }
    }

    // MARK: events

    package mutating func handle(_ event: DatanetEvent, now: Instant) -> [DatanetEffect] {
        switch event {
        case .announced(let entry): announced(entry, isNew: true)
        case .held(let entry): announced(entry, isNew: false)
        case .block(let cid, let bytes): block(cid, bytes)
        case .unavailable(let cid): drop(cid, .unavailable(cid))
        }
    }

    private mutating func announced(_ entry: CatalogEntry, isNew: Bool) -> [DatanetEffect] {
        guard let subject = entry.subject else { return [] }
        let id = DatanetID(subject)
        guard wanted().count < DatanetLimits.wantedMax else {
            return [.refused(entry.root, .full(what: "what is being fetched", limit: DatanetLimits.wantedMax))]
        }
        switch entry.kind {
        case .datanet: return announcedManifest(entry, id)
        case .contribution: return announcedContribution(entry, id, isNew: isNew)
        case .model, .adapter: return []
        }
    }

    private mutating func announcedManifest(_ entry: CatalogEntry, _ id: DatanetID) -> [DatanetEffect] {
        if let known = held[id] {
            if entry.root == known.snapshot { return [] }
            // Somebody else's word must not stand in the way of the owner's.
            guard entry.owner == known.manifest.owner else {
                return [.refused(entry.root, .wrongSigner(expected: known.manifest.owner, found: entry.owner))]
            }
            guard entry.revision >= known.manifest.revision else { return [] }
            // Our own manifests are made here: one that comes from outside is an old copy or a second home on one key.
            guard known.manifest.owner != account else {
                return [.refused(entry.root, .fork(revision: entry.revision))]
            }
        } else if held.count + pulls.count >= DatanetLimits.datanetsMax {
            return [.refused(entry.root, .full(what: "the book of datanets", limit: DatanetLimits.datanetsMax))]
        }
        if let pull = pulls[id], pull.entry.revision >= entry.revision { return [] }
        pulls[id] = Pull(entry: entry)
        return [.want([entry.root])]
    }

    private mutating func announcedContribution(
        _ entry: CatalogEntry, _ id: DatanetID, isNew: Bool
    ) -> [DatanetEffect] {
        if entry.owner == account, !isNew {
            signedSequences[id] = max(signedSequences[id] ?? 0, entry.revision)
            return []
        }
        guard let known = held[id], known.manifest.owner == account else { return [] }
        guard known.contributions[entry.root] == nil, proposals[entry.root] == nil else { return [] }
        guard proposals.count < DatanetLimits.waitingMax else {
            return [.refused(entry.root, .full(what: "the waiting list", limit: DatanetLimits.waitingMax))]
        }
        proposals[entry.root] = ContributionIntake(entry.root, datanet: id)
        return [.want([entry.root])]
    }

    private mutating func block(_ cid: CID, _ bytes: [UInt8]) -> [DatanetEffect] {
        guard cid.verifies(bytes) else { return [] }
        var effects: [DatanetEffect] = []
        for id in pulls.keys.sorted() where missing(of: id).contains(cid) {
            do {
                effects += try takePulled(cid, bytes, id)
            } catch {
                pulls[id] = nil
                effects.append(.refused(cid, error))
            }
        }
        for proposal in proposals.keys.sorted() where proposals[proposal]?.missing.contains(cid) == true {
            do {
                effects += try takeProposed(cid, bytes, proposal)
            } catch {
                proposals[proposal] = nil
                effects.append(.refused(proposal, error))
            }
        }
        return effects
    }

    private mutating func takePulled(
        _ cid: CID, _ bytes: [UInt8], _ id: DatanetID
    ) throws(DatanetFault) -> [DatanetEffect] {
        guard var pull = pulls[id] else { return [] }
        var effects: [DatanetEffect] = [.store([DatanetBlock(cid: cid, bytes: bytes)])]
        if pull.manifest == nil {
            let manifest = try DatanetManifest.open(bytes, network: network)
            guard manifest.id == id else { throw .wrongDatanet(expected: id, found: manifest.id) }
            guard manifest.owner == pull.entry.owner else {
                throw .wrongSigner(expected: manifest.owner, found: pull.entry.owner)
            }
            if let known = held[id] {
                if manifest.revision == known.manifest.revision { throw .fork(revision: manifest.revision) }
                try manifest.checkFollows(known.manifest, snapshot: known.snapshot)
            }
            pull.manifest = manifest
            let present = held[id]?.contributions ?? [:]
            for contribution in manifest.contributions where present[contribution] == nil {
                pull.intakes[contribution] = ContributionIntake(
                    contribution, datanet: id, checked: checked.removeValue(forKey: contribution))
            }
            effects.append(.want(manifest.contributions.filter { pull.intakes[$0] != nil }))
        } else {
            for contribution in pull.intakes.keys.sorted() {
                guard var intake = pull.intakes[contribution], intake.missing.contains(cid) else { continue }
                let wasEnvelope = intake.contribution == nil
                try intake.take(cid, bytes, network: network)
                pull.intakes[contribution] = intake
                if wasEnvelope { effects.append(.want(intake.missing)) }
            }
        }
        pulls[id] = pull
        if missing(of: id).isEmpty { effects += try complete(id) }
        return effects.filter { $0 != .want([]) }
    }

    private mutating func complete(_ id: DatanetID) throws(DatanetFault) -> [DatanetEffect] {
        guard let pull = pulls[id], let manifest = pull.manifest else { return [] }
        var next =
            held[id]
            ?? Held(manifest: manifest, snapshot: pull.entry.root, contributions: [:], rowHashes: [])
        var effects: [DatanetEffect] = []
        for (cid, intake) in pull.intakes.sorted(by: { $0.key < $1.key }) {
            let hashes = intake.rowHashes
            next.contributions[cid] = intake.contribution
            next.rowHashes.formUnion(hashes)
            if !intake.wasChecked { effects.append(.checked(cid, hashes)) }
        }
        next.manifest = manifest
        next.snapshot = pull.entry.root
        let content = manifest.contributions.compactMap { next.contributions[$0] }
        let rows = content.reduce(UInt64(0)) { $0 &+ $1.rowCount }
        let bytes = content.reduce(UInt64(0)) { $0 &+ $1.byteCount }
        guard rows == manifest.rowCount else { throw .rowCount(claimed: manifest.rowCount, found: rows) }
        guard bytes == manifest.byteCount else { throw .byteCount(claimed: manifest.byteCount, found: bytes) }
        try Self.checkSequences(content)
        held[id] = next
        pulls[id] = nil
        return effects + [.remember(pull.entry), .changed(id, snapshot: next.snapshot)]
    }

    /// Each contributor's sequence grows along the list.
    private static func checkSequences(_ content: [Contribution]) throws(DatanetFault) {
        var last: [AccountID: UInt64] = [:]
        for contribution in content {
            if let previous = last[contribution.contributor], contribution.sequence <= previous {
                throw .sequence(last: previous, found: contribution.sequence)
            }
            last[contribution.contributor] = contribution.sequence
        }
    }

    private mutating func takeProposed(
        _ cid: CID, _ bytes: [UInt8], _ proposal: CID
    ) throws(DatanetFault) -> [DatanetEffect] {
        guard var intake = proposals[proposal] else { return [] }
        let wasEnvelope = intake.contribution == nil
        try intake.take(cid, bytes, network: network)
        proposals[proposal] = intake
        var effects: [DatanetEffect] = [.store([DatanetBlock(cid: cid, bytes: bytes)])]
        if wasEnvelope {
            if let contribution = intake.contribution { try checkSequence(contribution) }
            effects.append(.want(intake.missing))
        } else if intake.isComplete {
            let report = try self.report(intake)
            if held[intake.datanet]?.manifest.policy == .open {
                effects += try accept(proposal)
            } else {
                effects += [
                    .remember(entry(for: proposal, intake)),
                    .waiting(intake.datanet, contribution: proposal, report),
                ]
            }
        }
        return effects
    }

    private mutating func drop(_ cid: CID, _ fault: DatanetFault) -> [DatanetEffect] {
        var effects: [DatanetEffect] = []
        for id in pulls.keys.sorted() where missing(of: id).contains(cid) {
            let root = pulls[id]?.entry.root ?? cid
            pulls[id] = nil
            effects.append(.refused(root, fault))
        }
        for proposal in proposals.keys.sorted() where proposals[proposal]?.missing.contains(cid) == true {
            proposals[proposal] = nil
            effects.append(.refused(proposal, fault))
        }
        return effects
    }
}
