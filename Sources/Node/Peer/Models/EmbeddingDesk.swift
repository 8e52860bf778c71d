// Sentence embedders behind a door that never blocks: one queue, on which models are loaded and texts are read, and a limit
// to what waits for it.

import Dispatch
import Gateway
import Inference
import ModelFiles
import Primitives
import Records
import Synchronization
import Tokenizers

enum EmbeddingLimits {
    /// Models in memory; the least recently used makes room.
    static let embeddersMax = 2
    /// Requests that wait or run.
    static let requestsMax = 64
    /// What a request may bring in all.
    static let tokensMax = 262_144
}

final class EmbeddingDesk: Sendable {
    private let recent = Mutex(RecentModels<Embedder>(countMax: EmbeddingLimits.embeddersMax))
    private let waiting = Mutex(0)
    private let queue = DispatchQueue(label: "openledger.embeddings")

    var loadedModels: [CID] { recent.withLock { $0.models } }

    func embed(
        _ request: EmbeddingRequest, model: CID, on models: ModelShelf
    ) async -> Result<(vectors: [[Float]], tokens: Int), JobFault> {
        let isTaken = waiting.withLock { count in
            guard count < EmbeddingLimits.requestsMax else { return false }
            count += 1
            return true
        }
        guard isTaken else {
            return .failure(
                JobFault(
                    .unavailable, "queue_full",
                    "\(EmbeddingLimits.requestsMax) requests for vectors are waiting already; try again in 1 s",
                    retryAfterSeconds: 1))
        }
        return await withCheckedContinuation { continuation in
            queue.async { [self] in
                defer { waiting.withLock { $0 -= 1 } }
                do throws(JobFault) {
                    let embedder = try embedder(model, models)
                    let texts = try Self.tokens(request, embedder)
                    let count = texts.reduce(0) { $0 + $1.count }
                    continuation.resume(returning: .success((try Self.vectors(texts, embedder), count)))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
    }

    private func embedder(_ model: CID, _ models: ModelShelf) throws(JobFault) -> Embedder {
        if let known = recent.withLock({ $0.value(of: model) }) { return known }
        let loaded: Embedder
        do throws(ShelfFault) {
            let folder = try models.folder(model)
            loaded = try inModel { () throws(ModelFault) in try Embedder(folder: folder) }
        } catch {
            throw JobFault(error, code: "model")
        }
        recent.withLock { $0.keep(loaded, of: model) }
        return loaded
    }

    private static func vectors(_ texts: [[Int32]], _ embedder: Embedder) throws(JobFault) -> [[Float]] {
        do {
            return try embedder.embed(texts)
        } catch .notFinite {
            throw JobFault(.broken, "not_finite", "\(EmbedderFault.notFinite)")
        } catch {
            throw JobFault(.invalid, "input", "\(error)", parameter: "input")
        }
    }

    private static func tokens(_ request: EmbeddingRequest, _ embedder: Embedder) throws(JobFault) -> [[Int32]] {
        var texts: [[Int32]] = []
        var sum = 0
        for (index, input) in request.inputs.enumerated() {
            let field = request.inputs.count == 1 ? "input" : "input[\(index)]"
            var ids: [Int32] = []
            switch input {
            case .text(let text):
                guard let tokenizer = embedder.tokenizer else {
                    throw JobFault(
                        .invalid, "tokenizer", "this model has no tokenizer; send token ids", parameter: field)
                }
                ids = tokenizer.encode(text, addSpecial: true)
            case .tokens(let tokens):
                for token in tokens {
                    guard let id = Int32(exactly: token), Int(id) < embedder.vocabulary else {
                        throw JobFault(
                            .invalid, "token_out_of_range",
                            "\(field): token \(token) is not in a vocabulary of \(embedder.vocabulary)",
                            parameter: field)
                    }
                    ids.append(id)
                }
            }
            guard request.truncates || ids.count <= embedder.contextTokens else {
                throw JobFault(
                    .invalid, "context_length_exceeded",
                    "\(field) has \(ids.count) tokens; this model reads \(embedder.contextTokens)", parameter: field)
            }
            // As the embedder cuts it: the closing token stays.
            if ids.count > embedder.contextTokens {
                ids = Array(ids.prefix(embedder.contextTokens - 1)) + ids.suffix(1)
            }
            sum += ids.count
            guard sum <= EmbeddingLimits.tokensMax else {
                throw JobFault(
                    .invalid, "too_long", "the inputs may have \(EmbeddingLimits.tokensMax) tokens together",
                    parameter: "input")
            }
            texts.append(ids)
        }
        return texts
    }
}
