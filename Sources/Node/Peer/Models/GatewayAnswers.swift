// What the gateway asks of the service beyond a plain answer: prices, answers of several adapters at once, vectors.

import Arithmetic
import Datanets
package import Gateway
import Ledger
import NodeCore
import Primitives
import Records

extension PeerService {
    package var numericsRevision: UInt64 { KernelNumerics.revision }

    package func price() async throws(AnswerFault) -> AnswerPrice {
        do {
            let price = try peer.price()
            return AnswerPrice(request: price.request, promptToken: price.promptToken, answerToken: price.answerToken)
        } catch {
            throw AnswerFault(.broken, "\(error)", code: "settings")
        }
    }

    /// Several adapters for one answer, which only this peer's own kernels give.
    func fused(
        _ request: AnswerRequest, _ merge: AnswerMerge, _ choice: ModelChoice
    ) async throws(AnswerFault) -> Answer {
        func refuse(_ param: String, _ why: String) -> AnswerFault {
            AnswerFault(.invalid, "merged_adapters and \(why)", param: param, code: "unsupported_value")
        }
        guard choice.adapter == nil else { throw refuse("model", "an adapter in \"model\" cannot both be given") }
        guard !request.isPaid, request.peer == nil else {
            throw refuse("merged_adapters", "an answer that is paid for cannot both be had")
        }
        var merged: [CID] = []
        for (index, name) in merge.adapters.enumerated() {
            let part: ModelChoice
            do throws(AnswerFault) {
                part = try await modelChoice("\(choice.model.name):\(name)")
            } catch {
                var fault = error
                fault.param = "merged_adapters.ids[\(index)]"
                throw fault
            }
            guard part.isHeld, let adapter = part.adapter else {
                throw AnswerFault(
                    .conflict, "the adapter \(name) is not held here; pull it first: openledger adapter pull \(name)",
                    param: "merged_adapters.ids[\(index)]", code: "not_held")
            }
            merged.append(adapter.cid)
        }
        let name = "\(choice.model.name):\(merge.adapters.joined(separator: "+"))"
        let datanet = try await heldDatanet(request)
        return try await peer.inference.generate(
            request, model: choice.model.cid, adapter: nil, merged: merged, name: name, datanet: datanet)
    }

    private func heldDatanet(_ request: AnswerRequest) async throws(AnswerFault) -> Digest? {
        guard let text = request.datanet else { return nil }
        let id = try await datanetID(text, param: "datanet")
        guard peer.directory.held(id.digest) != nil else {
            throw AnswerFault(
                .conflict, "the datanet \(text) is not held here; pull it first", param: "datanet", code: "not_held")
        }
        return id.digest
    }

    package func embed(_ request: EmbeddingRequest) async throws(AnswerFault) -> Embeddings {
        let choice = try await modelChoice(request.model)
        guard let shelved = choice.model.shelved else {
            throw AnswerFault(
                .conflict,
                "the model \(choice.model.name) is not held here; pull it first: openledger model pull \(choice.model.name)",
                param: "model", code: "not_held")
        }
        guard choice.adapter == nil, shelved.family == FolderCheck.embedderFamily else {
            throw AnswerFault(
                .invalid, "\(choice.text) gives text, not vectors; import a sentence embedder and name it",
                param: "model", code: "not_an_embedder")
        }
        switch await peer.inference.embeddings.embed(request, model: choice.model.cid, on: peer.shelf) {
        case .success(let answer):
            return Embeddings(model: choice.text, vectors: answer.vectors, promptTokens: answer.tokens)
        case .failure(let fault): throw fault.answerFault
        }
    }
}
