// From a question to an order: who could answer it and at which price, what it may cost at most, and the order itself.

import Datanets
import Foundation
import Gateway
import Ledger
import NodeCore
import Primitives
import Records

/// Who could answer, and at which price.
struct ServerOffer: Sendable {
    var peer: PeerID
    var price: PriceSchedule
    var precision: String
}

extension PeerService {
    private static let tokensDefault = 256
    /// Prompt tokens that a price limit leaves room for beside the prompt itself: template and passages.
    private static let promptTokensSpare: UInt64 = 1024

    func offers(
        _ request: GenerationRequest, _ choice: ModelChoice, _ datanet: DatanetID?
    ) async throws(NodeFault) -> [ServerOffer] {
        let wanted: PeerID?
        if let text = request.peer { wanted = try peerID(text) } else { wanted = nil }
        let isHeld = choice.isHeld && (datanet.map { peer.directory.held($0.digest) != nil } ?? true)
        if isHeld, wanted == nil || wanted == handle.peer { return [try ownOffer(choice.model.cid)] }
        if wanted == handle.peer {
            throw NodeFault(
                .conflict, "this peer does not hold \(missing(choice, datanet)); pull it first", param: "peer",
                code: "not_held")
        }
        let (adverts, connected, distrusted) = try await read {
            ($0.catalog.adverts, Set($0.connectedPeers), $0.auditBook.distrusted)
        }
        let now = NodeDriver.wallTime()
        var found: [(cost: Amount, queued: UInt64, offer: ServerOffer)] = []
        var avoided: [Distrust] = []
        for (id, advert) in adverts where advert.expires > now && connected.contains(id) && wanted ?? id == id {
            guard let served = advert.models.first(where: { $0.model == choice.model.cid }),
                choice.adapters.allSatisfy({ served.adapters.contains($0.cid) }),
                datanet.map({ advert.datanets.contains($0.digest) }) ?? true
            else { continue }
            let price = PriceSchedule(
                request: advert.pricePerRequest, promptToken: advert.pricePerPromptToken,
                answerToken: advert.pricePerAnswerToken)
            guard let cost = try? self.cost(request, price) else { continue }
            // Whoever names it gets it all the same.
            if wanted == nil, let distrust = distrusted[advert.server] {
                avoided.append(distrust)
                continue
            }
            found.append((cost, advert.queued, ServerOffer(peer: id, price: price, precision: served.precision)))
        }
        if found.isEmpty, let distrust = avoided.first {
            throw NodeFault(
                .unavailable,
                "who offers \(choice.text) signed an answer that its model does not give (receipt \(distrust.receipt.hex)); name the peer to ask it all the same, or wait for another",
                param: "model", code: "distrusted", retryAfterSeconds: 60)
        }
        guard !found.isEmpty else { throw nobody(choice, datanet, wanted, connected: connected) }
        return found.sorted { ($0.cost, $0.queued, $0.offer.peer) < ($1.cost, $1.queued, $1.offer.peer) }.map(\.offer)
    }

    func ownOffer(_ model: CID) throws(NodeFault) -> ServerOffer {
        do {
            return ServerOffer(
                peer: handle.peer, price: try peer.price(), precision: peer.inference.formName(of: model))
        } catch {
            throw NodeFault(.broken, "\(error)", code: "settings")
        }
    }

    private func missing(_ choice: ModelChoice, _ datanet: DatanetID?) -> String {
        var missing: [String] = []
        if choice.model.shelved == nil { missing.append("the model \(choice.model.name)") }
        for adapter in choice.adapters where adapter.shelved == nil { missing.append("the adapter \(adapter.name)") }
        if let datanet, peer.directory.held(datanet.digest) == nil { missing.append("the datanet \(datanet)") }
        return missing.joined(separator: ", ")
    }

    private func nobody(
        _ choice: ModelChoice, _ datanet: DatanetID?, _ wanted: PeerID?, connected: Set<PeerID>
    ) -> NodeFault {
        if let wanted, !connected.contains(wanted) { return NodeFault(NodeFailure.notConnected(wanted)) }
        let lacking = missing(choice, datanet)
        let who = wanted.map { "\($0) does not offer" } ?? "no connected peer offers"
        let what = "\(choice.text)\(datanet == nil ? "" : " with this datanet")"
        return NodeFault(
            .unavailable,
            "\(who) \(what), and this peer lacks \(lacking.isEmpty ? "nothing: leave peer out" : lacking); pull it, or wait for a peer that serves it",
            param: wanted == nil ? "model" : "peer", code: "no_server", retryAfterSeconds: 5)
    }

    private func tokensMax(_ request: GenerationRequest) -> UInt64 {
        UInt64(clamping: request.tokensMax ?? Self.tokensDefault)
    }

    /// The most that one choice of it can cost: no token has less than a byte.
    private func cost(_ request: GenerationRequest, _ price: PriceSchedule) throws(AmountFault) -> Amount {
        try price.cost(
            promptTokens: UInt64(clamping: Self.promptBytes(request)) + Self.promptTokensSpare,
            answerTokens: tokensMax(request))
    }

    private static func promptBytes(_ request: GenerationRequest) -> Int {
        switch request.prompt {
        case .messages(let messages): messages.reduce(0) { $0 + $1.content.utf8.count }
        case .text(let text): text.utf8.count
        case .tokens(let tokens): tokens.count
        }
    }

    static func millionths(_ value: Double) -> Int64 {
        guard value.isFinite, abs(value) < 1e9 else { return 0 }
        return Int64((value * 1e6).rounded())
    }

    /// One order for each choice, in turn under one allowance, each with its receipt.
    func orders(
        _ request: GenerationRequest, _ choice: ModelChoice, _ datanet: DatanetID?, _ offer: ServerOffer
    ) throws(NodeFault) -> [AskRequest] {
        let choices = max(1, request.choices)
        let priceMax: Amount
        do {
            priceMax =
                try request.priceMax.map { Amount(baseUnits: $0.baseUnits / UInt128(choices)) }
                ?? cost(request, offer.price)
        } catch {
            throw NodeFault(
                .invalid, "so many tokens cost more OPEN than there are", param: "max_tokens", code: "out_of_range")
        }
        let sampling = request.sampling
        let seed = sampling.seed ?? Self.number(Home.randomBytes(8))
        let prompt: AskPrompt =
            switch request.prompt {
            case .messages(let messages):
                .messages(messages.map { AskMessage(role: $0.role.rawValue, content: $0.content) })
            case .text(let text): .text(text)
            case .tokens(let tokens): .tokens(tokens)
            }
        let bias = request.sampling.logitBias.sorted { $0.key < $1.key }.map {
            AskBias(token: $0.key, bias: Self.millionths($0.value))
        }
        func unsigned(_ value: Double) -> UInt64 { UInt64(clamping: Self.millionths(value)) }
        var order = AskRequest(
            server: offer.peer, price: offer.price, priceMax: priceMax, model: choice.model.cid,
            precision: offer.precision,
            adapters: uses(request, choice), datanet: datanet?.digest,
            prompt: prompt,
            decoding: Decoding(
                seed: seed, temperature: unsigned(sampling.temperature), topK: UInt64(clamping: sampling.topK),
                topP: min(unsigned(sampling.topP), 1_000_000), minP: min(unsigned(sampling.minP), 1_000_000),
                repetitionPenalty: unsigned(sampling.repetitionPenalty),
                frequencyPenalty: Self.millionths(sampling.frequencyPenalty),
                presencePenalty: Self.millionths(sampling.presencePenalty), maxTokens: tokensMax(request)),
            settings: DecodingSettings(
                stop: request.stop, ignoreEndOfSequence: request.ignoreEndOfSequence, bias: bias,
                form: request.format.map { AskForm($0) }), randomness: [])
        order.fusion = try fusion(request)
        order.logProbabilities = request.logProbabilities
        return (0..<choices).map { index in
            order.settings.choice = UInt32(index)
            order.randomness = Home.randomBytes(96)
            return order
        }
    }

    private func uses(_ request: GenerationRequest, _ choice: ModelChoice) -> [AdapterUse] {
        let weights = request.merge?.weights ?? []
        return choice.adapters.enumerated().map { index, adapter in
            let weight = weights.indices.contains(index) ? Self.millionths(weights[index]) : 1_000_000
            return AdapterUse(adapter: adapter.cid, weight: weight, owner: nil)
        }
    }

    private func fusion(_ request: GenerationRequest) throws(NodeFault) -> String? {
        guard let merge = request.merge else { return nil }
        do throws(JobFault) { return try OrderFusion(merge).text } catch { throw error.answerFault }
    }

    /// What a paid answer cannot do in this version, and what no order can hold.
    func checkPaid(_ request: GenerationRequest) throws(NodeFault) {
        func refuse(_ param: String, _ what: String) -> NodeFault {
            NodeFault(
                .invalid, "\(what) is not possible for an answer that is paid for", param: param,
                code: "unsupported_value")
        }
        guard !request.echo else { throw refuse("echo", "an echo of the prompt") }
        guard request.tools == nil else { throw refuse("tools", "a call of tools") }
        guard !request.hasTools else { throw refuse("messages", "a conversation with tools") }
        guard request.stop.count <= DecodingSettings.stopMax else {
            throw refuse("stop", "more than \(DecodingSettings.stopMax) stop texts")
        }
        guard request.sampling.logitBias.count <= DecodingSettings.biasesMax else {
            throw refuse("logit_bias", "a bias for more than \(DecodingSettings.biasesMax) tokens")
        }
        if case .schema(let text) = request.format.map({ AskForm($0) }), text.utf8.count > AskForm.bytesMax {
            throw refuse("response_format", "a schema of more than \(AskForm.bytesMax) bytes")
        }
    }

    // MARK: the quote

    /// What an answer would cost, before it is asked for: nothing is sent or spent.
    func quote(_ request: GenerationRequest) async throws(NodeFault) -> JSONValue {
        let (request, choice) = try await resolved(request)
        var datanet: DatanetID?
        if let text = request.datanet { datanet = try await datanetID(text, param: "datanet") }
        try checkPaid(request)
        let offers = try await offers(request, choice, datanet)
        guard let offer = offers.first else { throw nobody(choice, datanet, nil, connected: []) }
        let counted = try await promptTokens(request, choice)
        let promptTokens = counted ?? Self.promptBytes(request) / 4 + 1
        let choices = UInt64(max(1, request.choices))
        do throws(AmountFault) {
            let estimate = try offer.price.cost(
                promptTokens: UInt64(clamping: promptTokens), answerTokens: tokensMax(request)
            ).multiplied(by: choices)
            let most = try cost(request, offer.price).multiplied(by: choices)
            return .object([
                "model": .string(choice.text), "peer": .string(offer.peer.text),
                "local": .bool(offer.peer == handle.peer), "offers": .integer(offers.count),
                "prompt_tokens": .integer(promptTokens), "counted": .bool(counted != nil && datanet == nil),
                "completion_tokens_max": .integer(tokensMax(request)),
                "price": .object([
                    "request": .amount(offer.price.request), "prompt_token": .amount(offer.price.promptToken),
                    "completion_token": .amount(offer.price.answerToken),
                ]), "estimate": .amount(estimate), "cost_max": .amount(most),
            ])
        } catch {
            throw NodeFault(
                .invalid, "so many tokens cost more OPEN than there are", param: "max_tokens", code: "out_of_range")
        }
    }

    /// By the model's own template and tokenizer; nil where this peer does not hold it. Rows are not among them.
    private func promptTokens(_ request: GenerationRequest, _ choice: ModelChoice) async throws(NodeFault) -> Int? {
        guard choice.model.shelved != nil else { return nil }
        switch request.prompt {
        case .messages(let messages):
            return try await peer.inference.tokenize(
                messages, addGenerationPrompt: true, extras: [:], model: choice.model.cid
            ).count
        case .text(let text):
            return try await peer.inference.tokenize(text, addSpecialTokens: true, model: choice.model.cid).count
        case .tokens(let tokens): return tokens.count
        }
    }
}

extension GenerationRequest {
    /// Offered, or in the conversation so far: an order carries neither.
    var hasTools: Bool {
        guard tools == nil, case .messages(let messages) = prompt else { return tools != nil }
        return messages.contains { $0.role == .tool || !$0.toolCalls.isEmpty }
    }
}
