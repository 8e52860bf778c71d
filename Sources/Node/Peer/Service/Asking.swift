// Answers: free of charge from this peer's own kernels, or paid and receipted from whoever serves best.
//
//   request ──paid, a peer, or not held here──▶ server chosen ──▶ ask ──accepted──▶ sources, tokens, receipt
//      │                                             ▲   └─ not there any more ──▶ the next one, once
//      └──otherwise──▶ own engine, no receipt

import Arithmetic
import Datanets
import Foundation
package import Gateway
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

    package func generate(_ request: GenerationRequest) async throws(NodeFault) -> Gateway.Generation {
        let choice = try await modelChoice(request.model)
        if let merge = request.merge { return try await fused(request, merge, choice) }
        let datanet = try await datanet(of: request)
        // Rows are paid for wherever the caller may spend; what a paid answer cannot have is given free.
        let canBePaid = request.choices == 1 && request.logProbabilities == nil && !request.echo
        let paysForRows = request.maySpend && datanet != nil && canBePaid
        guard request.isPaid || paysForRows || request.peer != nil || !choice.isHeld else {
            if let datanet, peer.directory.held(datanet.digest) == nil {
                throw NodeFault(
                    .conflict,
                    "the datanet \(request.datanet ?? "") is not held here; pull it first, or ask a neighbour with peer",
                    param: "datanet", code: "not_held")
            }
            return try await peer.inference.generate(
                request, model: choice.model.cid, adapter: choice.adapter?.cid, name: choice.text,
                datanet: datanet?.digest)
        }
        guard request.maySpend else {
            throw NodeFault.tokenRequired(
                choice.isHeld
                    ? "this answer is paid for; send the home's token"
                    : "\(choice.text) is not held here, a neighbour answers for pay; send the home's token, or pull the model"
            )
        }
        try checkPaid(request)
        var offers = try await offers(request, choice, datanet)
        var last = NodeFault(
            .unavailable, "nobody serves \(choice.text) now", param: "model", code: "no_server", retryAfterSeconds: 5)
        for _ in 0..<2 where !offers.isEmpty {
            let offer = offers.removeFirst()
            let order = try order(request, choice, datanet, offer)
            switch await ask(order, request, choice) {
            case .success(let generation): return generation
            case .failure(let fault):
                last = fault
                guard request.peer == nil, ["server_vanished", "not_connected"].contains(fault.code ?? "") else {
                    throw fault
                }
            }
        }
        throw last
    }

    private func datanet(of request: GenerationRequest) async throws(NodeFault) -> DatanetID? {
        guard let text = request.datanet else { return nil }
        return try await datanetID(text, param: "datanet")
    }

    /// What a paid answer cannot do in this version.
    private func checkPaid(_ request: GenerationRequest) throws(NodeFault) {
        func refuse(_ param: String, _ what: String) -> NodeFault {
            NodeFault(
                .invalid, "\(what) is not possible for an answer that is paid for", param: param,
                code: "unsupported_value")
        }
        guard request.choices == 1 else { throw refuse("n", "more than one choice") }
        guard request.logProbabilities == nil else { throw refuse("logprobs", "log-probabilities") }
        guard !request.echo else { throw refuse("echo", "an echo of the prompt") }
        guard request.sampling.logitBias.isEmpty else { throw refuse("logit_bias", "a bias") }
        guard request.format == nil else { throw refuse("response_format", "a form") }
        guard request.stop.count <= AskOrder.stopMax else {
            throw refuse("stop", "more than \(AskOrder.stopMax) stop texts")
        }
    }

    // MARK: who answers

    private func offers(
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
                choice.adapter.map({ served.adapters.contains($0.cid) }) ?? true,
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

    private func ownOffer(_ model: CID) throws(NodeFault) -> ServerOffer {
        do {
            return ServerOffer(
                peer: handle.peer, price: try peer.price(), precision: peer.inference.form(of: model).text)
        } catch {
            throw NodeFault(.broken, "\(error)", code: "settings")
        }
    }

    private func missing(_ choice: ModelChoice, _ datanet: DatanetID?) -> String {
        var missing: [String] = []
        if choice.model.shelved == nil { missing.append("the model \(choice.model.name)") }
        if let adapter = choice.adapter, adapter.shelved == nil { missing.append("the adapter \(adapter.name)") }
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

    // MARK: the order

    private func tokensMax(_ request: GenerationRequest) -> UInt64 {
        UInt64(clamping: request.tokensMax ?? Self.tokensDefault)
    }

    /// The most that it can cost: no token has less than a byte.
    private func cost(_ request: GenerationRequest, _ price: PriceSchedule) throws(AmountFault) -> Amount {
        let promptBytes =
            switch request.prompt {
            case .messages(let messages): messages.reduce(0) { $0 + $1.content.utf8.count }
            case .text(let text): text.utf8.count
            case .tokens(let tokens): tokens.count
            }
        return try price.cost(
            promptTokens: UInt64(clamping: promptBytes) + Self.promptTokensSpare, answerTokens: tokensMax(request))
    }

    private static func millionths(_ value: Double) -> Int64 {
        guard value.isFinite, abs(value) < 1e9 else { return 0 }
        return Int64((value * 1e6).rounded())
    }

    private func order(
        _ request: GenerationRequest, _ choice: ModelChoice, _ datanet: DatanetID?, _ offer: ServerOffer
    ) throws(NodeFault) -> AskRequest {
        let priceMax: Amount
        do { priceMax = try request.priceMax ?? cost(request, offer.price) } catch {
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
        func unsigned(_ value: Double) -> UInt64 { UInt64(clamping: Self.millionths(value)) }
        return AskRequest(
            server: offer.peer, price: offer.price, priceMax: priceMax, model: choice.model.cid,
            precision: offer.precision,
            adapters: choice.adapter.map { [AdapterUse(adapter: $0.cid, owner: nil)] } ?? [], datanet: datanet?.digest,
            prompt: prompt,
            decoding: Decoding(
                seed: seed, temperature: unsigned(sampling.temperature), topK: UInt64(clamping: sampling.topK),
                topP: min(unsigned(sampling.topP), 1_000_000), minP: min(unsigned(sampling.minP), 1_000_000),
                repetitionPenalty: unsigned(sampling.repetitionPenalty),
                frequencyPenalty: Self.millionths(sampling.frequencyPenalty),
                presencePenalty: Self.millionths(sampling.presencePenalty), maxTokens: tokensMax(request)),
            stop: request.stop, ignoreEndOfSequence: request.ignoreEndOfSequence, randomness: Home.randomBytes(96))
    }

    // MARK: the answer

    /// Returns when the server has accepted, or has not.
    private func ask(_ order: AskRequest, _ request: GenerationRequest, _ choice: ModelChoice) async -> Result<
        Gateway.Generation, NodeFault
    > {
        let (events, told) = AsyncThrowingStream<GenerationEvent, any Error>.makeStream(bufferingPolicy: .unbounded)
        let (gate, opened) = AsyncStream<NodeFault?>.makeStream()
        let answers = handle.command(.ask(order))
        let task = Task {
            var end: NodeFault? = Self.stopping
            var promptTokens = 0
            var answerTokens = 0
            for await answer in answers {
                switch answer {
                case .accepted(let tokens, let sources):
                    promptTokens = tokens
                    opened.yield(nil)
                    opened.finish()
                    if !sources.isEmpty { told.yield(.sources(Self.sources(sources))) }
                case .token(let id, let text):
                    answerTokens += 1
                    told.yield(.token(TokenEvent(id: id, text: text)))
                case .answered(let signed, let reason):
                    told.yield(.finished(choice: 0, reason == .length ? .length : .stop))
                    told.yield(
                        .receipt(ReceiptNote(id: signed.id.hex, cost: signed.receipt.amount, state: "signed")))
                    told.yield(.usage(promptTokens: promptTokens, completionTokens: answerTokens))
                    end = nil
                case .failed(let failure): end = NodeFault(failure)
                default: break
                }
            }
            opened.yield(end)
            opened.finish()
            told.finish(throwing: end)
        }
        told.onTermination = { reason in
            if case .cancelled = reason { task.cancel() }
        }
        for await fault in gate {
            if let fault { return .failure(fault) }
            return .success(
                Gateway.Generation(
                    requestID: Hex.encode(order.randomness.prefix(16)), model: choice.text, servedBy: order.server.text,
                    isLocal: order.server == handle.peer, receiptID: nil, events: events))
        }
        task.cancel()
        return .failure(Self.stopping)
    }

    private static func sources(_ notes: [SourceNote]) -> [AnswerSource] {
        notes.sorted { ($0.share, $1.row) > ($1.share, $0.row) }.map { note in
            AnswerSource(
                row: "\(note.snapshot.text)#\(note.row)", rowID: note.rowName.isEmpty ? nil : note.rowName,
                datanet: note.datanet.hex, datanetName: note.datanetName, contributor: note.contributor.text,
                share: note.share, text: note.text, license: note.license.isEmpty ? nil : note.license)
        }
    }

    // MARK: tokens

    package func tokenize(_ request: TokenizeRequest) async throws(NodeFault) -> [UInt32] {
        let model = try await heldModel(request.model)
        switch request.input {
        case .text(let text, let addsSpecial):
            return try await peer.inference.tokenize(text, addSpecialTokens: addsSpecial, model: model)
        case .messages(let messages, let addsPrompt, let extras):
            return try await peer.inference.tokenize(
                messages, addGenerationPrompt: addsPrompt, extras: extras, model: model)
        }
    }

    package func detokenize(_ tokens: [UInt32], model: String) async throws(NodeFault) -> String {
        let model = try await heldModel(model)
        return try await peer.inference.detokenize(tokens, model: model)
    }

    private func heldModel(_ text: String) async throws(NodeFault) -> CID {
        let choice = try await modelChoice(text)
        guard choice.model.shelved != nil else {
            throw NodeFault(
                .conflict,
                "the model \(choice.model.name) is not held here; pull it first: openledger model pull \(choice.model.name)",
                param: "model", code: "not_held")
        }
        return choice.model.cid
    }
}
