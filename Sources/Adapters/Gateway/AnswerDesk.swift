// What every route that answers from a model shares: the node, the limits, whose key pays, what is measured, and answers
// that are told again.

import HTTPTypes
import Hummingbird
import Primitives

struct AnswerDesk: Sendable {
    /// What a message's role and separators add to a prompt, in tokens.
    private static let messageTokens = 16
    private static let bytesPerToken = 4

    let service: any NodeService
    let limits: GatewayLimits
    let keys: KeyDesk
    let replays: Replays
    let registry: PrometheusRegistry

    func meter(_ context: GatewayContext) -> AnswerMeter {
        AnswerMeter(registry, route: context.endpointPath ?? "none")
    }

    /// Says in each request who asks, and takes what they need from the limits of the key that they use.
    func charge(
        _ generations: inout [GenerationRequest], _ authority: Authority
    ) async throws(NodeFault) -> AnswerCharge {
        for index in generations.indices {
            generations[index].maySpend = authority.isOwner
            generations[index].tenant = authority.tenant
        }
        guard let digest = metered(authority), let first = generations.first else { return AnswerCharge() }
        let price = try await service.price()
        let bytes = generations.map { Self.bytes($0.prompt) }
        let bytesMost = bytes.max() ?? 0
        let estimate = AnswerEstimate(
            requests: generations.count, promptTokens: bytes.reduce(0) { $0 + $1 / Self.bytesPerToken + 1 },
            promptTokensMax: bytes.reduce(0, +), choices: generations.count * first.choices,
            answerTokensMax: first.tokensMax)
        let reservation = try await keys.admit(digest, estimate, price: price)
        for index in generations.indices {
            generations[index].tokensMax = reservation.answerTokensMax
            guard reservation.maySpend else { continue }
            generations[index].maySpend = true
            let share = Amount(baseUnits: reservation.cost.baseUnits / UInt128(max(1, generations.count)))
            generations[index].priceMax = min(generations[index].priceMax ?? share, share)
        }
        return AnswerCharge(
            keys, reservation, price: price, promptTokensEach: bytesMost / Self.bytesPerToken + 1)
    }

    func charge(_ request: inout EmbeddingRequest, _ authority: Authority) async throws(NodeFault) -> AnswerCharge {
        request.tenant = authority.tenant
        guard let digest = metered(authority) else { return AnswerCharge() }
        let price = try await service.price()
        let bytes = request.inputs.reduce(0) { $0 + Self.bytes($1) }
        let estimate = AnswerEstimate(
            promptTokens: bytes / Self.bytesPerToken + 1, promptTokensMax: bytes, choices: 1, answerTokensMax: 0)
        let reservation = try await keys.admit(digest, estimate, price: price)
        return AnswerCharge(keys, reservation, price: price, promptTokensEach: 0)
    }

    /// A request that is counted and makes no tokens.
    func count(_ authority: Authority) async throws(NodeFault) -> AnswerCharge {
        guard let digest = metered(authority) else { return AnswerCharge() }
        let free = AnswerPrice(request: .zero, promptToken: .zero, answerToken: .zero)
        let estimate = AnswerEstimate(promptTokens: 0, promptTokensMax: 0, choices: 1, answerTokensMax: 0)
        let reservation = try await keys.admit(digest, estimate, price: free)
        return AnswerCharge(keys, reservation, price: free, promptTokensEach: 0)
    }

    /// The key, where it has limits of its own; those of the configuration have none.
    private func metered(_ authority: Authority) -> Digest? {
        if case .key(let digest) = authority, keys.isKey(digest) { digest } else { nil }
    }

    private static func bytes(_ input: EmbeddingRequest.Input) -> Int {
        switch input {
        case .text(let text): text.utf8.count + 2
        case .tokens(let tokens): tokens.count * bytesPerToken
        }
    }

    /// No prompt has more tokens than this, however its text is cut.
    private static func bytes(_ prompt: GenerationPrompt) -> Int {
        switch prompt {
        case .messages(let messages): messages.reduce(0) { $0 + $1.content.utf8.count + messageTokens }
        case .text(let text): text.utf8.count + 1
        case .tokens(let tokens): tokens.count
        }
    }
}

extension Authority {
    var tenant: String? { if case .key(let digest) = self { APIKeyRecord.id(digest) } else { nil } }
}
