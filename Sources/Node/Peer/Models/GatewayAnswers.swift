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

    /// Several adapters for one answer, each of the request's base; none of them may be the whole of `model` already.
    func merged(_ merge: AnswerMerge, _ choice: ModelChoice) async throws(AnswerFault) -> ModelChoice {
        guard choice.adapter == nil else {
            throw AnswerFault(
                .invalid, "merged_adapters and an adapter in \"model\" cannot both be given", param: "model",
                code: "unsupported_value")
        }
        var merged = choice
        for (index, name) in merge.adapters.enumerated() {
            let part: ModelChoice
            do throws(AnswerFault) {
                part = try await modelChoice("\(choice.model.name):\(name)")
            } catch {
                var fault = error
                fault.param = "merged_adapters.ids[\(index)]"
                throw fault
            }
            guard let adapter = part.adapter else {
                throw AnswerFault(
                    .invalid, "a fusion cannot be part of another: \(name.prefix(128))",
                    param: "merged_adapters.ids[\(index)]", code: "unsupported_value")
            }
            merged.merged.append(adapter)
        }
        return merged
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
