// What the person at this peer does with datanets: found one, add rows, decide about the rows of others. Commands answer
// at once with the effects to perform, or throw what is wrong; nothing is half done.

package import Primitives
import Records

extension DatanetBook {
    /// Founds a datanet of this peer's owner. `nonce`: 16 random bytes from the adapter layer.
    package mutating func create(
        name: String, summary: String, tags: [String], licence: String, policy: DatanetPolicy, nonce: [UInt8]
    ) throws(DatanetFault) -> (id: DatanetID, effects: [DatanetEffect]) {
        guard held.count + pulls.count < DatanetLimits.datanetsMax else {
            throw .full(what: "the book of datanets", limit: DatanetLimits.datanetsMax)
        }
        let manifest = try DatanetManifest(
            owner: account, name: name, nonce: nonce, summary: summary, tags: tags, licence: licence, policy: policy)
        guard held[manifest.id] == nil else { throw .alreadyThere }
        return (manifest.id, adopt(manifest, contributions: [:], rowHashes: []))
    }

    /// Signs rows as a contribution. To a datanet of one's own it is accepted at once; to another's it is announced for
    /// its owner. Rows must come from `RowFile`.
    package mutating func contribute(
        _ rows: [Row], to id: DatanetID, licence: String
    ) throws(DatanetFault) -> (contribution: CID, effects: [DatanetEffect]) {
        guard let known = held[id] else { throw .unknownDatanet(id) }
        guard !rows.isEmpty else { throw .invalid(field: "rows", reason: "is empty") }
        guard rows.count <= DatanetLimits.rowsPerContributionMax else {
            throw .tooLarge(what: "rows", count: rows.count, limit: DatanetLimits.rowsPerContributionMax)
        }
        guard (1...DatanetLimits.licenceBytesMax).contains(licence.utf8.count) else {
            throw .invalid(field: "licence", reason: "has 1 to \(DatanetLimits.licenceBytesMax) bytes")
        }
        let shards = Shard.cut(rows, contributor: account, licence: licence)
        guard shards.count <= DatanetLimits.shardsPerContributionMax else {
            throw .tooLarge(what: "shards", count: shards.count, limit: DatanetLimits.shardsPerContributionMax)
        }
        let hashes = rows.map(\.normalisedHash)
        guard !hashes.allSatisfy(known.rowHashes.contains) else { throw .nothingNew }
        let sequence = nextSequence(id)
        let contribution = Contribution(shards, to: id, contributor: account, licence: licence, sequence: sequence)
        let envelope = contribution.signed(by: key, network: network)
        let cid = CID(.dagCBOR, hashing: envelope)
        let blocks =
            zip(contribution.shards, shards).map { DatanetBlock(cid: $0, bytes: $1.encoded()) }
            + [DatanetBlock(cid: cid, bytes: envelope)]
        if known.manifest.owner == account {
            let manifest = try known.manifest.adding(cid, contribution, after: known.snapshot)
            let effects = adopt(
                manifest, contributions: known.contributions.merging([cid: contribution]) { $1 },
                rowHashes: known.rowHashes.union(hashes))
            return (cid, [.store(blocks), .checked(cid, hashes)] + effects)
        }
        signedSequences[id] = sequence
        let entry = CatalogEntry(
            kind: .contribution, name: known.manifest.name, root: cid, owner: account, revision: sequence,
            subject: id.digest, totalBytes: contribution.byteCount)
        return (cid, [.store(blocks), .remember(entry), .announce(entry)])
    }

    /// Accepts a contribution that waits.
    package mutating func approve(_ contribution: CID) throws(DatanetFault) -> [DatanetEffect] {
        guard proposals[contribution]?.isComplete == true else { throw .unavailable(contribution) }
        return try accept(contribution)
    }

    /// Turns away a contribution that waits. The contributor sees `reason`.
    package mutating func refuse(_ contribution: CID, reason: String) throws(DatanetFault) -> [DatanetEffect] {
        guard let intake = proposals.removeValue(forKey: contribution) else { throw .unavailable(contribution) }
        return [
            .forget(entry(for: contribution, intake)), .refused(contribution, .refusedByOwner(reason: reason)),
        ]
    }

    /// What the owner sees of a contribution that is here completely.
    package func report(_ contribution: CID) -> ContributionReport? {
        guard let intake = proposals[contribution], intake.isComplete else { return nil }
        return try? report(intake)
    }

    // MARK: shared with the events

    func report(_ intake: ContributionIntake) throws(DatanetFault) -> ContributionReport {
        guard let contribution = intake.contribution, let known = held[intake.datanet] else {
            throw .unknownDatanet(intake.datanet)
        }
        var seen = known.rowHashes
        var duplicates: UInt64 = 0
        for hash in intake.rowHashes where !seen.insert(hash).inserted { duplicates += 1 }
        guard duplicates < contribution.rowCount else { throw .nothingNew }
        return ContributionReport(
            contributor: contribution.contributor, rowCount: contribution.rowCount, byteCount: contribution.byteCount,
            duplicates: duplicates)
    }

    func checkSequence(_ contribution: Contribution) throws(DatanetFault) {
        guard let last = lastSequence(contribution.datanet, of: contribution.contributor) else { return }
        guard contribution.sequence > last else { throw .sequence(last: last, found: contribution.sequence) }
    }

    mutating func accept(_ proposal: CID) throws(DatanetFault) -> [DatanetEffect] {
        guard let intake = proposals[proposal], let contribution = intake.contribution else {
            throw .unavailable(proposal)
        }
        guard let known = held[intake.datanet] else { throw .unknownDatanet(intake.datanet) }
        guard known.manifest.owner == account else { throw .notTheOwner }
        // Between check and approval another contribution may have been accepted.
        try checkSequence(contribution)
        _ = try report(intake)
        let manifest = try known.manifest.adding(proposal, contribution, after: known.snapshot)
        proposals[proposal] = nil
        let effects = adopt(
            manifest, contributions: known.contributions.merging([proposal: contribution]) { $1 },
            rowHashes: known.rowHashes.union(intake.rowHashes))
        return [.checked(proposal, intake.rowHashes)] + effects + [.forget(entry(for: proposal, intake))]
    }

    func entry(for proposal: CID, _ intake: ContributionIntake) -> CatalogEntry {
        CatalogEntry(
            kind: .contribution, name: held[intake.datanet]?.manifest.name ?? "", root: proposal,
            owner: intake.contribution?.contributor ?? account, revision: intake.contribution?.sequence ?? 0,
            subject: intake.datanet.digest, totalBytes: intake.contribution?.byteCount ?? 0)
    }

    private func lastSequence(_ id: DatanetID, of contributor: AccountID) -> UInt64? {
        contributions(id).last { $0.contribution.contributor == contributor }?.contribution.sequence
    }

    private func nextSequence(_ id: DatanetID) -> UInt64 {
        let last = [lastSequence(id, of: account), signedSequences[id]].compactMap { $0 }.max()
        return last.map { $0 + 1 } ?? 0
    }

    /// Signs a manifest of ours and makes it what is held.
    private mutating func adopt(
        _ manifest: DatanetManifest, contributions: [CID: Contribution], rowHashes: Set<Digest>
    ) -> [DatanetEffect] {
        let (snapshot, block) = manifest.signed(by: key, network: network)
        held[manifest.id] = Held(
            manifest: manifest, snapshot: snapshot, contributions: contributions, rowHashes: rowHashes)
        let entry = CatalogEntry(
            kind: .datanet, name: manifest.name, root: snapshot, owner: account, revision: manifest.revision,
            subject: manifest.id.digest, totalBytes: manifest.byteCount)
        return [
            .store([DatanetBlock(cid: snapshot, bytes: block)]), .remember(entry), .announce(entry),
            .changed(manifest.id, snapshot: snapshot),
        ]
    }
}
