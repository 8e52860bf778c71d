// Models and adapters: what is here and what others have, importing, pulling, removing.

import Arithmetic
package import Gateway
import Ledger
import NodeCore
import Primitives
import Records
import Storage

extension PeerService {
    // MARK: shown

    func models(_ page: ListPage) async throws(NodeFault) -> JSONValue {
        let known = try await assets(.model)
        let adapters = try await assets(.adapter)
        let cut = try PageCut(page, of: known.count)
        return .object([
            "models": .array(known[cut.range].map { json(model: $0, adapters) }), "next": cut.next,
        ])
    }

    func model(_ name: String) async throws(NodeFault) -> JSONValue {
        json(model: try await asset(.model, name), try await assets(.adapter))
    }

    private func json(model: KnownAsset, _ adapters: [KnownAsset]) -> JSONValue {
        let price = try? peer.price()
        let shelved = model.shelved
        return .object([
            "id": .string(model.cid.text), "name": .string(model.name), "family": .text(shelved?.family),
            "parameters": shelved.map { .integer($0.parameters) } ?? .null,
            "precision": shelved == nil ? .null : .string(peer.inference.formName(of: model.cid)),
            "context_length": shelved.map { .integer($0.contextLength) } ?? .null, "bytes": .integer(model.bytes),
            "held": .string(shelved == nil ? "none" : "full"), "local": .bool(shelved != nil),
            "owner": .text(model.owner?.text),
            "adapters": .strings(adapters.filter { $0.bases.contains(model.cid) }.map(\.name)),
            "price": price.map {
                .object([
                    "prompt_token": .amount($0.promptToken), "completion_token": .amount($0.answerToken),
                    "request": .amount($0.request),
                ])
            } ?? .null,
        ])
    }

    func adapters(_ page: ListPage) async throws(NodeFault) -> JSONValue {
        let known = try await assets(.adapter)
        let names = try await names()
        let cut = try PageCut(page, of: known.count)
        let shown = Array(known[cut.range])
        let standings = await standings(of: shown)
        return .object([
            "adapters": .array(shown.map { json(adapter: $0, names, standings[$0.cid]) }), "next": cut.next,
        ])
    }

    func adapter(_ name: String) async throws(NodeFault) -> JSONValue {
        let known = try await asset(.adapter, name)
        return json(adapter: known, try await names(), await standings(of: [known])[known.cid])
    }

    /// How those that are here stand in memory.
    private func standings(of adapters: [KnownAsset]) async -> [CID: AdapterStanding] {
        var standings: [CID: AdapterStanding] = [:]
        let here = adapters.filter { $0.shelved != nil }
        for base in Set(here.compactMap { $0.shelved?.folder.base }).sorted() {
            let cids = here.filter { $0.shelved?.folder.base == base }.map(\.cid)
            standings.merge(await peer.inference.standing(of: cids, base: base)) { $1 }
        }
        return standings
    }

    private func json(adapter: KnownAsset, _ names: NameBook, _ standing: AdapterStanding?) -> JSONValue {
        let price = try? peer.price()
        let usage = standing?.usage ?? AdapterUsage()
        let state = standing?.state ?? (adapter.shelved == nil ? "elsewhere" : "disk")
        return .object([
            "id": .string(adapter.cid.text), "name": .string(adapter.name),
            "model": .text(adapter.bases.min().map { names.name($0) }),
            "rank": adapter.shelved?.rank.map { .integer($0) } ?? .null,
            "alpha": adapter.shelved?.alpha.map { .double($0) } ?? .null, "datanet": .null,
            "bytes": .integer(adapter.bytes), "held": .string(adapter.shelved == nil ? "none" : "full"),
            "owner": .text(adapter.owner?.text), "state": .string(state),
            "pinned": .bool(standing?.isPinned ?? false),
            "published": .bool(adapter.shelved?.isWithheld != true),
            "memory_bytes": .integer(standing?.memoryBytes ?? 0), "running": .integer(standing?.running ?? 0),
            "queued": .integer(standing?.queued ?? 0),
            "requests": .integer(usage.requests), "cache_hits": .integer(usage.hits), "loads": .integer(usage.loads),
            "load_failures": .integer(usage.failures), "last_fault": .text(usage.lastFault),
            "last_used_ms": usage.lastUsed.map { .time($0) } ?? .null,
            "price": price.map {
                .object([
                    "prompt_token": .amount($0.promptToken), "completion_token": .amount($0.answerToken),
                    "request": .amount($0.request),
                ])
            } ?? .null,
        ])
    }

    /// Bases, and adapters as `base:adapter`; what is here and what a live advert offers.
    package func modelCards() async throws(NodeFault) -> [ModelCard] {
        let models = try await assets(.model)
        let adapters = try await assets(.adapter)
        let created = peer.genesis.time.milliseconds / 1000
        let loaded = Set(peer.inference.loadedModels)
        func facts(_ asset: KnownAsset, _ model: KnownAsset) -> ModelFacts? {
            asset.shelved.map { shelved in
                ModelFacts(
                    family: shelved.family, parameters: shelved.parameters, bytes: shelved.bytes,
                    precision: peer.inference.formName(of: model.cid), isLoaded: loaded.contains(asset.cid),
                    isEmbedder: shelved.family == FolderCheck.embedderFamily)
            }
        }
        func card(_ id: String, _ asset: KnownAsset, parent: KnownAsset?) -> ModelCard {
            ModelCard(
                id: id, createdSeconds: created,
                owner: parent == nil ? "openledger" : asset.owner?.text ?? "openledger",
                parent: parent?.name, root: asset.cid.text,
                contextLength: (parent ?? asset).shelved?.contextLength ?? 0,
                isLocal: asset.shelved != nil && (parent == nil || parent?.shelved != nil),
                facts: facts(asset, parent ?? asset))
        }
        var cards: [ModelCard] = []
        for model in models {
            cards.append(card(model.name, model, parent: nil))
            for adapter in adapters where adapter.bases.contains(model.cid) {
                cards.append(card("\(model.name):\(adapter.name)", adapter, parent: model))
            }
            for fusion in peer.inference.book.fusions where fusion.base == model.cid {
                var card = card("\(model.name):\(fusion.name)", model, parent: model)
                card.root = nil
                cards.append(card)
            }
        }
        var seen: Set<String> = []
        return cards.filter { seen.insert($0.id).inserted }
    }

    // MARK: changes

    func checkName(_ name: String) throws(NodeFault) {
        let isGood =
            (1...FolderManifest.nameBytesMax).contains(name.utf8.count)
            && !name.contains { ":@/ ".contains($0) || $0.isNewline }
        guard isGood else {
            throw NodeFault(
                .invalid, "a name has 1 to \(FolderManifest.nameBytesMax) bytes without spaces, \":\", \"@\" and \"/\"",
                param: "name",
                code: "invalid_value")
        }
    }

    func importModel(_ path: String, _ name: String, _ precision: String?) throws(NodeFault) -> AsyncThrowingStream<
        JSONValue, any Error
    > {
        try checkName(name)
        return importing(path, .model, name, base: nil, precision: try precision.map(Self.precision(named:)))
    }

    static func precision(named text: String) throws(NodeFault) -> Precision {
        guard let precision = Precision(rawValue: text) else {
            throw NodeFault(
                .invalid, "precision must be \(Precision.allCases.map(\.rawValue).joined(separator: ", "))",
                param: "precision", code: "unsupported_value")
        }
        return precision
    }

    /// What runs goes on as it began; what is asked from now on is answered in the new precision.
    func setPrecision(_ name: String, _ text: String?) async throws(NodeFault) -> JSONValue {
        let known = try await asset(.model, name)
        guard known.shelved != nil else {
            throw NodeFault.missing("the model \(known.name) is not held here", code: "not_held")
        }
        let (cid, precision) = (known.cid, try text.map(Self.precision(named:)))
        try await onShelf { shelf throws(ShelfFault) in try shelf.setPrecision(precision, of: cid) }
        peer.inference.unload(cid)
        await peer.advertise()
        return try await model(cid.text)
    }

    func importAdapter(_ path: String, _ name: String, _ model: String) async throws(NodeFault) -> AsyncThrowingStream<
        JSONValue, any Error
    > {
        try checkName(name)
        let base = try await asset(.model, model, param: "model")
        guard base.shelved != nil else {
            throw NodeFault(
                .conflict, "the model \(base.name) is not held here; pull it first: openledger model pull \(base.name)",
                param: "model",
                code: "not_held")
        }
        return importing(path, .adapter, name, base: base.cid)
    }

    private func importing(
        _ path: String, _ kind: FolderKind, _ name: String, base: CID?, precision: Precision? = nil
    ) -> AsyncThrowingStream<JSONValue, any Error> {
        shelving(kind) { [inference = peer.inference] shelf throws(ShelfFault) in
            let made = try shelf.importFolder(path: path, kind: kind, name: name, base: base, precision: precision)
            if precision != nil { inference.unload(made.0) }
            return made
        }
    }

    /// Puts something on the shelf, and tells the network of it.
    func shelving(
        _ kind: FolderKind, _ take: @escaping @Sendable (ModelShelf) throws(ShelfFault) -> (CID, FolderManifest)
    ) -> AsyncThrowingStream<JSONValue, any Error> {
        lines { [self] emit async throws(NodeFault) in
            emit(progressLine(done: 0, total: 0, blocks: 0))
            let (cid, manifest) = try await onShelf(take)
            emit(progressLine(done: manifest.totalBytes, total: manifest.totalBytes, blocks: manifest.files.count))
            await peer.announce(cid, manifest)
            await peer.register(cid, kind)
            await peer.advertise()
            return try await done(kind, cid)
        }
    }

    private func done(_ kind: FolderKind, _ cid: CID) async throws(NodeFault) -> JSONValue {
        .object([
            "event": .string("done"),
            kind.rawValue: kind == .model ? try await model(cid.text) : try await adapter(cid.text),
        ])
    }

    /// Shelf work blocks for as long as disk and engine take: on a thread of its own.
    func onShelf<Value: Sendable>(
        _ body: @escaping @Sendable (ModelShelf) throws(ShelfFault) -> Value
    ) async throws(NodeFault) -> Value {
        let shelf = peer.shelf
        let result: Result<Value, ShelfFault> = await Task.detached {
            do throws(ShelfFault) { return Result<Value, ShelfFault>.success(try body(shelf)) } catch {
                return .failure(error)
            }
        }.value
        switch result {
        case .success(let value): return value
        case .failure(let fault): throw Self.fault(fault)
        }
    }

    static func fault(_ fault: ShelfFault) -> NodeFault {
        switch fault {
        case .folder, .model: NodeFault(.invalid, "\(fault)", param: "path", code: "not_importable")
        case .manifest, .file: NodeFault(.unverified, "\(fault)", code: "unverified")
        case .incomplete: NodeFault(.unavailable, "\(fault)", code: "incomplete", retryAfterSeconds: 5)
        case .baseMissing: NodeFault(.conflict, "\(fault)", code: "base_missing")
        case .unknown: NodeFault(.missing, "\(fault)", code: "not_held")
        case .inUse: NodeFault(.conflict, "\(fault)", code: "in_use")
        case .full: NodeFault(.busy, "\(fault)", code: "full")
        case .storage: NodeFault(.broken, "\(fault)", code: "storage")
        }
    }

    func remove(_ kind: FolderKind, _ name: String) async throws(NodeFault) -> JSONValue {
        let known = try await asset(kind, name)
        guard known.shelved != nil else {
            throw NodeFault.missing("the \(kind.rawValue) \(known.name) is not held here", code: "not_held")
        }
        let cid = known.cid
        if kind == .model { peer.inference.unload(cid) }
        if kind == .adapter {
            try checkUnfused(cid, known.name)
            try? await peer.inference.perform(.unload, on: cid)
        }
        try await onShelf { shelf throws(ShelfFault) in try shelf.remove(cid) }
        if kind == .adapter {
            _ = try await onBook { book throws(StorageFault) in
                try book.forget(cid)
                return true
            }
        }
        await peer.advertise()
        return .object(["name": .string(known.name), "removed": .bool(true)])
    }

    func pull(_ kind: FolderKind, _ name: String, _ from: String?) async throws(NodeFault) -> AsyncThrowingStream<
        JSONValue, any Error
    > {
        let known = try await asset(kind, name)
        var provider: PeerID?
        if let from {
            let wanted = try peerID(from)
            guard try await connections().contains(where: { $0.peer == wanted }) else {
                throw NodeFault(NodeFailure.notConnected(wanted))
            }
            provider = wanted
        } else if known.shelved == nil, try await connections().isEmpty {
            throw NodeFault(.unavailable, "no peer is connected to pull from", code: "no_peers", retryAfterSeconds: 10)
        }
        let (cid, source) = (known.cid, provider)
        return lines { [self] emit async throws(NodeFault) in
            for await answer in handle.command(.pull(cid, from: source)) {
                switch answer {
                case .progress(let blocks, let bytes, let total):
                    emit(progressLine(done: bytes, total: max(total, known.bytes), blocks: blocks))
                case .pulled(_, let bytes, _, let servers):
                    try await onShelf { shelf throws(ShelfFault) in _ = try shelf.complete(manifest: cid) }
                    await peer.advertise()
                    return try await done(kind, cid).adding([
                        JSONMember("bytes", .integer(bytes)), JSONMember("from", .strings(servers.map(\.text))),
                    ])
                case .failed(let failure): throw NodeFault(failure)
                default: break
                }
            }
            throw Self.stopping
        }
    }
}
