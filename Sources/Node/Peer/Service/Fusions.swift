// Adapters by hand and as one: load, pin, name a fusion, merge one into a model of its own.

import Gateway
import Ledger
import NodeCore
import Primitives
import Records
import Storage

extension PeerService {
    /// What is asked, and what it means here: a fusion that the model's text names becomes the request's.
    func resolved(_ request: GenerationRequest) async throws(NodeFault) -> (GenerationRequest, ModelChoice) {
        var request = request
        var choice = try await modelChoice(request.model)
        if let merge = request.merge {
            guard choice.merge == nil else {
                throw NodeFault(
                    .invalid, "merged_adapters and a fusion in \"model\" cannot both be given", param: "model",
                    code: "unsupported_value")
            }
            choice = try await merged(merge, choice)
        } else if let merge = choice.merge {
            request.merge = merge
        }
        return (request, choice)
    }

    /// A fusion by name, with its adapters as they are known now.
    func choice(_ model: KnownAsset, _ fusion: NamedFusion) async throws(NodeFault) -> ModelChoice {
        let known = try await assets(.adapter)
        var parts: [KnownAsset] = []
        for part in fusion.parts {
            guard let asset = known.first(where: { $0.cid == part.adapter }) else {
                throw NodeFault(
                    .missing,
                    "the fusion \(fusion.name) has an adapter that is not here or announced any more: \(part.adapter.text)",
                    param: "model", code: "adapter_not_found")
            }
            parts.append(asset)
        }
        guard let method = OrderFusion(text: fusion.method) else {
            throw NodeFault(.broken, "the fusion \(fusion.name) has no method", param: "model", code: "fusion")
        }
        let merge = AdapterMerge(
            method, adapters: parts.map(\.name), weights: fusion.parts.map { Double($0.weight) / 1e6 })
        return ModelChoice(model: model, fusion: fusion, merged: parts, merge: merge)
    }

    // MARK: adapters in memory

    func changeAdapter(_ name: String, _ action: AdapterAction) async throws(NodeFault) -> JSONValue {
        let known = try await asset(.adapter, name)
        guard known.shelved != nil else {
            throw NodeFault(
                .conflict,
                "the adapter \(known.name) is not held here; pull it first: openledger adapter pull \(known.name)",
                code: "not_held")
        }
        try await peer.inference.perform(action, on: known.cid)
        return try await adapter(known.cid.text)
    }

    // MARK: fusions

    func fusions() async throws(NodeFault) -> JSONValue {
        let names = try await names()
        return .object(["fusions": .array(peer.inference.book.fusions.map { Self.json($0, names) })])
    }

    func fusion(_ name: String) async throws(NodeFault) -> JSONValue {
        Self.json(try known(name), try await names())
    }

    func createFusion(_ wanted: FusionDescription) async throws(NodeFault) -> JSONValue {
        try checkName(wanted.name)
        let base = try await asset(.model, wanted.model, param: "model")
        let choice = try await merged(wanted.merge, ModelChoice(model: base))
        let clash = try await assets(.adapter).contains {
            $0.name == wanted.name && ($0.bases.isEmpty || $0.bases.contains(base.cid))
        }
        guard !clash, peer.inference.book.fusion(wanted.name) == nil else {
            throw NodeFault(
                .conflict, "\(base.name):\(wanted.name) is there already; choose another name", param: "name",
                code: "name_taken")
        }
        let method: OrderFusion
        do throws(JobFault) { method = try OrderFusion(wanted.merge) } catch { throw error.answerFault }
        let fusion = NamedFusion(
            name: wanted.name, base: base.cid,
            parts: zip(choice.merged, wanted.merge.weights).map {
                NamedFusion.Part(adapter: $0.cid, weight: Self.millionths($1))
            }, method: method.text)
        let hasRoom = try await onBook { book throws(StorageFault) in try book.put(fusion) }
        guard hasRoom else {
            throw NodeFault(
                .conflict, "\(AdapterBook.entriesMax) fusions have a name already; remove one first", code: "full")
        }
        return Self.json(fusion, try await names())
    }

    func removeFusion(_ name: String) async throws(NodeFault) -> JSONValue {
        let fusion = try known(name)
        _ = try await onBook { book throws(StorageFault) in
            try book.removeFusion(fusion.name)
            return true
        }
        return .object(["name": .string(fusion.name), "removed": .bool(true)])
    }

    /// An adapter that a fusion has is not removed under it.
    func checkUnfused(_ adapter: CID, _ name: String) throws(NodeFault) {
        let users = peer.inference.book.fusions.filter { $0.parts.contains { $0.adapter == adapter } }.map(\.name)
        guard users.isEmpty else {
            throw NodeFault(
                .conflict, "\(name) is part of the fusion \(users.joined(separator: ", ")); remove that first",
                code: "in_use")
        }
    }

    private func known(_ name: String) throws(NodeFault) -> NamedFusion {
        guard let fusion = peer.inference.book.fusion(name) else {
            throw NodeFault(
                .missing, "there is no fusion \"\(name.prefix(128))\" here; openledger adapter fusions shows them",
                code: "fusion_not_found")
        }
        return fusion
    }

    private static func json(_ fusion: NamedFusion, _ names: NameBook) -> JSONValue {
        let method = OrderFusion(text: fusion.method)
        return .object([
            "name": .string(fusion.name), "model": .string(names.name(fusion.base)),
            "adapters": .array(
                fusion.parts.map { part in
                    .object([
                        "id": .string(part.adapter.text), "name": .string(names.name(part.adapter)),
                        "weight": .double(Double(part.weight) / 1e6),
                    ])
                }),
            "merge_strategy": .string(method?.strategy.rawValue ?? "linear"),
            "density": .double(Double(method?.density ?? 1_000_000) / 1e6),
            "majority_sign_method": .string(method?.signText ?? "total"),
        ])
    }

    /// The disk, on a thread of its own.
    func onBook(
        _ body: @escaping @Sendable (AdapterBook) throws(StorageFault) -> Bool
    ) async throws(NodeFault) -> Bool {
        let book = peer.inference.book
        let result: Result<Bool, StorageFault> = await Task.detached {
            do throws(StorageFault) { return Result<Bool, StorageFault>.success(try body(book)) } catch {
                return .failure(error)
            }
        }.value
        switch result {
        case .success(let value): return value
        case .failure(let fault): throw NodeFault(.broken, "\(fault)", code: "storage")
        }
    }

    // MARK: merging into a model

    func mergeModel(_ wanted: FusionDescription) async throws(NodeFault) -> AsyncThrowingStream<JSONValue, any Error> {
        try checkName(wanted.name)
        let base = try await asset(.model, wanted.model, param: "model")
        guard base.shelved != nil else {
            throw NodeFault(
                .conflict, "the model \(base.name) is not held here; pull it first: openledger model pull \(base.name)",
                param: "model", code: "not_held")
        }
        guard wanted.merge.strategy == .linear else {
            throw NodeFault(
                .invalid, "only linear can be merged into a model; name the fusion instead: openledger adapter fuse",
                param: "merge_strategy", code: "unsupported_value")
        }
        let choice = try await merged(wanted.merge, ModelChoice(model: base))
        if let missing = choice.merged.firstIndex(where: { $0.shelved == nil }) {
            throw NodeFault(
                .conflict, "the adapter \(choice.merged[missing].name) is not held here; pull it first",
                param: "merged_adapters.ids[\(missing)]", code: "not_held")
        }
        let parts = zip(choice.merged, wanted.merge.weights).map { (adapter: $0.cid, weight: $1) }
        return shelving(.model) { shelf throws(ShelfFault) in
            try shelf.importMerged(base: base.cid, adapters: parts, name: wanted.name)
        }
    }
}

extension AdapterMerge {
    fileprivate init(_ fusion: OrderFusion, adapters: [String], weights: [Double]) {
        self.init(
            adapters: adapters, weights: weights, strategy: Strategy(rawValue: fusion.strategy.rawValue) ?? .linear,
            density: Double(fusion.density) / 1e6, majoritySign: MajoritySign(rawValue: fusion.signText) ?? .total)
    }
}
