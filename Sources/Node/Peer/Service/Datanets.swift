// Datanets: what is known of them, founding one, adding rows, deciding about the rows of others.

import Datanets
import Gateway
import Ledger
import NodeCore
import Primitives
import Records
import Storage

/// What the node knows of one datanet.
private struct KnownDatanet: Sendable {
    var manifest: DatanetManifest?
    var snapshot: CID?
    var entry: CatalogEntry?
    var contributions: [(cid: CID, contribution: Contribution)] = []
    /// Checked, and waiting for the owner.
    var waiting: [(cid: CID, report: ContributionReport)] = []
    /// Announced by this peer's account and not taken in yet.
    var offered: [CatalogEntry] = []
}

extension PeerService {
    func performDatanet(_ call: NodeCall) async throws(NodeFault) -> JSONValue {
        switch call {
        case .datanets(let page): try await datanets(page)
        case .datanet(let name): try await json(datanet: datanetID(name))
        case .datanetRows(let name, let page): try await rows(name, page)
        case .contributions(let name): try await contributions(name)
        case .contributionReport(let name, let contribution): try await contributionReport(name, contribution)
        case .datanetHealth(let name): try await health(ofDatanet: name)
        case .validateRows(let name, let upload): try await validate(name, upload)
        case .createDatanet(let description): try await create(description)
        case .addRows(let name, let upload): try await add(name, upload)
        case .approveContribution(let name, let contribution): try await decide(name, contribution, reason: nil)
        case .rejectContribution(let name, let contribution, let reason):
            try await decide(name, contribution, reason: reason)
        default: throw NodeFault(.broken, "not a call about datanets", code: "internal")
        }
    }

    private func known(_ id: DatanetID) async throws(NodeFault) -> KnownDatanet {
        try await read { node in
            var known = KnownDatanet(
                manifest: node.datanets.manifest(id), snapshot: node.datanets.snapshot(id), entry: node.datanetEntry(id)
            )
            known.contributions = node.datanets.contributions(id)
            let announced = node.catalog.all(.contribution).filter { $0.subject == id.digest }
            let roots = Set(announced.map(\.root))
            for cid in node.datanets.waiting where roots.contains(cid) {
                if let report = node.datanets.report(cid) { known.waiting.append((cid, report)) }
            }
            let settled = Set(known.contributions.map(\.cid) + known.waiting.map(\.cid))
            known.offered = announced.filter { $0.owner == node.account && !settled.contains($0.root) }
            return known
        }
    }

    // MARK: shown

    private func datanets(_ page: ListPage) async throws(NodeFault) -> JSONValue {
        let ids = try await read { node in
            let announced = node.catalog.all(.datanet).compactMap { $0.subject.map(DatanetID.init) }
            return node.datanets.ids + Set(announced).subtracting(node.datanets.ids).sorted()
        }
        let cut = try PageCut(page, of: ids.count)
        var shown: [JSONValue] = []
        for id in ids[cut.range] { shown.append(try await json(datanet: id)) }
        return .object(["datanets": .array(shown), "next": cut.next])
    }

    func json(datanet id: DatanetID) async throws(NodeFault) -> JSONValue {
        let known = try await known(id)
        guard let manifest = known.manifest else {
            guard let entry = known.entry else {
                throw NodeFault.missing(
                    "there is no datanet \(id) here or announced by a neighbour", code: "datanet_not_found")
            }
            // Only its announcement is here: what is in it is known after a pull.
            return .object([
                "id": .string(id.text), "name": .string(entry.name), "summary": .string(""), "tags": .array([]),
                "license": .null, "access": .null, "owner": .string(entry.owner.text),
                "snapshot": .string(entry.root.text),
                "rows": .null, "bytes": .integer(entry.totalBytes), "contributors": .array([]), "pending": .integer(0),
                "held": .string("none"), "created_ms": .null,
            ])
        }
        var rows: [AccountID: UInt64] = [:]
        for (_, contribution) in known.contributions {
            rows[contribution.contributor, default: 0] &+= contribution.rowCount
        }
        let accounts = rows.keys.sorted()
        let shares = PartsPerMillion.shares(of: accounts.map { rows[$0] ?? 0 })
        let isNewest = known.entry.map { $0.root == known.snapshot || $0.revision < manifest.revision } ?? true
        return .object([
            "id": .string(id.text), "name": .string(manifest.name), "summary": .string(manifest.summary),
            "tags": .strings(manifest.tags), "license": .string(manifest.licence),
            "access": .string(manifest.policy.rawValue),
            "owner": .string(manifest.owner.text), "snapshot": .text(known.snapshot?.text),
            "rows": .integer(manifest.rowCount), "bytes": .integer(manifest.byteCount),
            "contributors": .array(
                zip(accounts, shares).map { account, share in
                    .object([
                        "account": .string(account.text), "rows": .integer(rows[account] ?? 0),
                        "ppm": .integer(share.value),
                    ])
                }), "pending": .integer(known.waiting.count), "held": .string(isNewest ? "full" : "partial"),
            "created_ms": .null,
        ])
    }

    private func rows(_ name: String, _ page: ListPage) async throws(NodeFault) -> JSONValue {
        let held = try await content(name)
        let cut = try PageCut(page, of: Int(clamping: held.rowCount))
        var shown: [JSONValue] = []
        var first = 0
        for (shard, _) in held.shards where shown.count < cut.range.count {
            guard first < cut.range.upperBound else { break }
            let content = try self.shard(shard)
            for (index, row) in content.rows.enumerated() where cut.range.contains(first + index) {
                shown.append(Self.json(row, first + index, in: content, at: index, snapshot: held.snapshot))
            }
            first += content.rows.count
        }
        return .object(["rows": .array(shown), "total": .integer(held.rowCount), "next": cut.next])
    }

    static func json(_ row: Row, _ number: Int, in shard: Shard, at index: Int, snapshot: CID) -> JSONValue {
        var (prompt, completion, text) = (JSONValue.null, JSONValue.null, JSONValue.null)
        switch row.content {
        case .pair(let asked, let answered): (prompt, completion) = (.string(asked), .string(answered))
        case .text(let whole): text = .string(whole)
        }
        return .object([
            "index": .integer(number), "row": .string("\(snapshot.text)#\(number)"), "id": .text(row.id),
            "prompt": prompt, "completion": completion, "text": text, "source": .text(row.source),
            "license": .string(shard.licence(of: index)), "contributor": .string(shard.contributor.text),
        ])
    }

    struct HeldContent: Sendable {
        var snapshot: CID
        var rowCount: UInt64
        /// In order, with their contribution's contributor.
        var shards: [(cid: CID, contributor: AccountID)]
    }

    /// What is complete here.
    func content(_ name: String) async throws(NodeFault) -> HeldContent {
        let id = try await datanetID(name)
        let known = try await known(id)
        guard let manifest = known.manifest, let snapshot = known.snapshot else {
            throw NodeFault(
                .conflict, "the datanet is not held here; pull it first: openledger datanet pull \(id)",
                code: "not_held")
        }
        return HeldContent(
            snapshot: snapshot, rowCount: manifest.rowCount,
            shards: known.contributions.flatMap { item in
                item.contribution.shards.map { ($0, item.contribution.contributor) }
            })
    }

    func shard(_ cid: CID) throws(NodeFault) -> Shard {
        guard let bytes = try stored({ () throws(StorageFault) -> [UInt8]? in try peer.store.block(cid) }),
            let shard = try? Shard(decoding: bytes)
        else {
            throw NodeFault(
                .broken, "shard \(cid) is not on this disk as it should be; run: openledger doctor", code: "storage")
        }
        return shard
    }

    // MARK: contributions

    /// A contribution that is here whole, and what the datanet held before it.
    func judged(
        _ name: String, _ text: String
    ) async throws(NodeFault) -> (contribution: Contribution, before: HeldContent, isAccepted: Bool) {
        var held = try await content(name)
        let id = try await datanetID(name)
        let known = try await known(id)
        let missing = NodeFault.missing(
            "no contribution \(text.prefix(80)) to this datanet is here", code: "contribution_not_found")
        guard let cid = try? CID(text: text) else { throw missing }
        let accepted = known.contributions.firstIndex { $0.cid == cid }
        guard
            accepted != nil || known.waiting.contains(where: { $0.cid == cid })
                || known.offered.contains(where: { $0.root == cid })
        else { throw missing }
        guard let block = try stored({ () throws(StorageFault) -> [UInt8]? in try peer.store.block(cid) }),
            let contribution = try? Contribution.open(block, network: peer.genesis.network), contribution.datanet == id
        else { throw missing }
        if let accepted {
            held.shards = known.contributions[..<accepted].flatMap { item in
                item.contribution.shards.map { ($0, item.contribution.contributor) }
            }
        }
        return (contribution, held, accepted != nil)
    }

    private func contributions(_ name: String) async throws(NodeFault) -> JSONValue {
        let known = try await known(datanetID(name))
        func line(_ cid: CID, _ contributor: AccountID, _ rows: JSONValue, _ state: String) -> JSONValue {
            .object([
                "contribution": .string(cid.text), "contributor": .string(contributor.text), "rows": rows,
                "state": .string(state), "created_ms": .null, "reason": .null,
            ])
        }
        let taken = known.contributions.map {
            line($0.cid, $0.contribution.contributor, .integer($0.contribution.rowCount), "approved")
        }
        let waiting = known.waiting.map { line($0.cid, $0.report.contributor, .integer($0.report.rowCount), "pending") }
        let offered = known.offered.map { line($0.root, $0.owner, .null, "pending") }
        return .object(["contributions": .array(waiting + offered + taken)])
    }

    private func decide(_ name: String, _ text: String, reason: String?) async throws(NodeFault) -> JSONValue {
        let id = try await datanetID(name)
        let known = try await known(id)
        guard let cid = try? CID(text: text) else {
            throw NodeFault(
                .invalid, "\"\(text.prefix(80))\" is no contribution; its CID looks like bafy…", param: "contribution",
                code: "invalid_value")
        }
        guard known.manifest?.owner == handle.account else { throw NodeFault(DatanetFault.notTheOwner) }
        guard let item = known.waiting.first(where: { $0.cid == cid }) else {
            throw NodeFault.missing("no contribution \(text) waits for a decision", code: "contribution_not_found")
        }
        let command: DatanetCommand = reason.map { .refuse(cid, reason: $0) } ?? .approve(cid)
        if case .failed(let failure) = await handle.perform(.datanet(command)) { throw NodeFault(failure) }
        return .object([
            "contribution": .string(cid.text), "contributor": .string(item.report.contributor.text),
            "rows": .integer(item.report.rowCount), "state": .string(reason == nil ? "approved" : "rejected"),
            "created_ms": .null, "reason": .text(reason),
        ])
    }
}
