// From the names that people use to what they mean here: the shelf first, then what the network has announced.

import Datanets
import Gateway
import NodeCore
import Primitives
import Records

/// Names by CID and by datanet, as this peer knows them now.
struct NameBook: Sendable {
    fileprivate var assets: [CID: String] = [:]
    fileprivate var datanets: [Digest: String] = [:]

    /// The name, or the beginning of the CID.
    func name(_ cid: CID) -> String { assets[cid] ?? cid.text }
    func name(datanet: Digest) -> String { datanets[datanet] ?? datanet.hex }
}

/// A model or an adapter that somebody has, here or elsewhere.
struct KnownAsset: Sendable {
    var cid: CID
    var kind: FolderKind
    var name: String
    /// Of an adapter: the models that it is known to belong to.
    var bases: Set<CID> = []
    var owner: AccountID?
    var bytes: UInt64
    var shelved: Shelved?
}

/// What a model's text means.
struct ModelChoice: Sendable {
    var model: KnownAsset
    var adapter: KnownAsset?
    /// Instead of one adapter: those that are fused, in order.
    var merged: [KnownAsset] = []
    /// How, where the model's text names a fusion.
    var merge: AnswerMerge?
    private(set) var fusionName: String?

    var adapters: [KnownAsset] { adapter.map { [$0] } ?? merged }
    var text: String {
        if let fusionName { return "\(model.name):\(fusionName)" }
        return adapters.isEmpty ? model.name : "\(model.name):\(adapters.map(\.name).joined(separator: "+"))"
    }
    init(model: KnownAsset, adapter: KnownAsset? = nil) {
        self.model = model
        self.adapter = adapter
    }

    init(model: KnownAsset, fusion: NamedFusion, merged: [KnownAsset], merge: AnswerMerge) {
        self.model = model
        self.merged = merged
        self.merge = merge
        fusionName = fusion.name
    }

    var isHeld: Bool { model.shelved != nil && adapters.allSatisfy { $0.shelved != nil } }
}

extension PeerService {
    func names() async throws(NodeFault) -> NameBook {
        var book = try await read { node in
            var book = NameBook()
            for entry in node.catalog.all(.model) + node.catalog.all(.adapter) { book.assets[entry.root] = entry.name }
            for entry in node.catalog.all(.datanet) { if let id = entry.subject { book.datanets[id] = entry.name } }
            for id in node.datanets.ids { book.datanets[id.digest] = node.datanets.manifest(id)?.name }
            return book
        }
        for item in peer.shelf.list() {
            book.assets[item.manifest] = item.name
            // A receipt may name the weights by their file.
            for file in item.folder.files where book.assets[file.root] == nil { book.assets[file.root] = item.name }
        }
        return book
    }

    // MARK: models, adapters

    /// What is here, by name, then what others have announced.
    func assets(_ kind: FolderKind) async throws(NodeFault) -> [KnownAsset] {
        let (entries, bases) = try await read { node in
            var bases: [CID: Set<CID>] = [:]
            for advert in node.catalog.adverts.values {
                for model in advert.models {
                    for adapter in model.adapters { bases[adapter, default: []].insert(model.model) }
                }
            }
            return (node.catalog.all(kind == .model ? .model : .adapter), bases)
        }
        var known: [KnownAsset] = peer.shelf.list().filter { $0.kind == kind }.map { item in
            KnownAsset(
                cid: item.manifest, kind: kind, name: item.name, bases: item.folder.base.map { [$0] } ?? [],
                owner: entries.first { $0.root == item.manifest }?.owner, bytes: item.bytes, shelved: item)
        }
        let held = Set(known.map(\.cid))
        var seen = held
        for entry in entries where seen.insert(entry.root).inserted {
            known.append(
                KnownAsset(
                    cid: entry.root, kind: kind, name: entry.name, bases: bases[entry.root] ?? [], owner: entry.owner,
                    bytes: entry.totalBytes, shelved: nil))
        }
        return known
    }

    func asset(_ kind: FolderKind, _ text: String, param: String? = nil) async throws(NodeFault) -> KnownAsset {
        let known = try await assets(kind)
        // An id that only an advert or a neighbour knows can still be fetched.
        if let asset = known.first(where: { $0.cid.text == text }) ?? known.first(where: { $0.name == text }) {
            return asset
        }
        throw NodeFault(
            .missing,
            "there is no \(kind.rawValue) \"\(text.prefix(128))\" here or announced by a neighbour; openledger \(kind.rawValue) list shows them",
            param: param, code: "\(kind.rawValue)_not_found")
    }

    /// `base`, `base:adapter` or `base:adapter@revision`; empty for this peer's first model.
    func modelChoice(_ text: String) async throws(NodeFault) -> ModelChoice {
        let models = try await assets(.model)
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let base = parts.first ?? ""
        let model: KnownAsset
        if base.isEmpty {
            guard let first = models.first(where: { $0.name == Starter.name }) ?? models.first else {
                throw NodeFault(
                    .missing,
                    "no model is here or announced; import one with openledger model import, or connect to a peer that serves one",
                    param: "model", code: "model_not_found")
            }
            model = first
        } else {
            guard let found = models.first(where: { $0.cid.text == base }) ?? models.first(where: { $0.name == base })
            else {
                let names = models.prefix(8).map(\.name).joined(separator: ", ")
                throw NodeFault(
                    .missing,
                    "there is no model \"\(base.prefix(128))\"; there \(names.isEmpty ? "is none here or announced" : "are \(names)")",
                    param: "model", code: "model_not_found")
            }
            model = found
        }
        guard parts.count > 1 else { return ModelChoice(model: model, adapter: nil) }
        let named = parts[1].split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let revision = named.count > 1 ? named[1] : ""
        let adapters = try await assets(.adapter).filter {
            ($0.name == named[0] || $0.cid.text == named[0]) && $0.cid.text.hasPrefix(revision)
        }
        let fitting = adapters.first { $0.bases.contains(model.cid) } ?? adapters.first { $0.bases.isEmpty }
        guard let adapter = fitting else {
            if let fusion = peer.inference.book.fusion(parts[1]), fusion.base == model.cid {
                return try await choice(model, fusion)
            }
            throw NodeFault(
                .missing,
                "there is no adapter \"\(parts[1].prefix(128))\" of \(model.name) here or announced by a neighbour",
                param: "model", code: "adapter_not_found")
        }
        return ModelChoice(model: model, adapter: adapter)
    }

    // MARK: datanets

    /// By name, id, or the CID of a snapshot.
    func datanetID(_ text: String, param: String? = nil) async throws(NodeFault) -> DatanetID {
        let cid = try? CID(text: text)
        let id = DatanetID(text: text)
        let found = try await read { node -> DatanetID? in
            let entries = node.catalog.all(.datanet)
            if let id, node.datanets.manifest(id) != nil || entries.contains(where: { $0.subject == id.digest }) {
                return id
            }
            if let held = node.datanets.id(named: text) { return held }
            if let cid {
                if let held = node.datanets.ids.first(where: { node.datanets.snapshot($0) == cid }) { return held }
                return entries.first { $0.root == cid }?.subject.map(DatanetID.init)
            }
            return entries.first { $0.name == text }?.subject.map(DatanetID.init)
        }
        guard let found else {
            throw NodeFault(
                .missing,
                "there is no datanet \"\(text.prefix(128))\" here or announced by a neighbour; openledger datanet list shows them",
                param: param, code: "datanet_not_found")
        }
        return found
    }
}
