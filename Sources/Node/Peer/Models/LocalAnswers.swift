// Free answers for this home's own doors: the same engines, no order and no receipt. What a request asks for and the sampler
// does not have is refused by the field's name.

import Tokenizers
import Decoding
import Gateway
import Inference
package import Primitives
import Records

extension InferenceService {
    /// Answers from this peer's own kernels. Returns once the request is in the engine; ending the iteration cancels it.
    /// - Parameters:
    ///   - name: the model as it was resolved, for the answer.
    ///   - datanet: the datanet that `request.datanet` names; where it is nil, that must be an id itself.
    package func generate(
        _ request: AnswerRequest, model: CID, adapter: CID?, name: String, datanet: Digest? = nil
    ) async throws(AnswerFault) -> Answer {
        let pending = begin(request, model: model, adapter: adapter, datanet: datanet)
        // Ends without a word when this task is cancelled.
        for await outcome in pending.outcome {
            if let fault = outcome { throw fault.answerFault }
            return Answer(
                requestID: Self.requestID(), model: name, servedBy: peer, isLocal: true, receiptID: nil,
                events: pending.events)
        }
        pending.token.cancel()
        throw JobFault(.unavailable, "cancelled", "nobody waits for the answer").answerFault
    }

    /// Everything before the wait.
    private func begin(_ request: AnswerRequest, model: CID, adapter: CID?, datanet: Digest?) -> PendingAnswer {
        // The stream can hold all that the context allows, so nothing is ever dropped.
        let context = shelf.entry(model)?.contextLength ?? 0
        let choices = min(max(1, request.choices), LocalPlan.choicesMax)
        let (stream, continuation) = AsyncThrowingStream.makeStream(
            of: AnswerEvent.self,
            bufferingPolicy: .bufferingOldest(choices * (context + LocalPlan.eventsBesidesTokens)))
        let (outcome, said) = AsyncStream.makeStream(of: JobFault?.self, bufferingPolicy: .bufferingOldest(1))
        let token = JobToken()
        let pending = PendingAnswer(token: token, outcome: outcome, events: stream)
        let cacheBytesMax = limits.cacheBytesMax
        continuation.onTermination = { _ in token.cancel() }
        let plan: LocalPlan
        do throws(JobFault) {
            plan = try LocalPlan(request, adapter: adapter, datanet: datanet)
            guard let entry = shelf.entry(model), entry.kind == .model else {
                throw JobFault(.unknown(model), code: "model")
            }
            if let adapter, shelf.entry(adapter)?.kind != .adapter {
                throw JobFault(.unknown(adapter), code: "adapter")
            }
        } catch {
            said.yield(error)
            return pending
        }
        run(on: EngineKey(model: model, precision: precision), question: plan.form.question, datanet: plan.datanet) {
            said.yield($0)
        } job: { found in
            EngineJob(
                token: token, adapter: adapter,
                begin: { model throws(JobFault) in
                    try plan.start(found, model: model, cacheBytesMax: cacheBytesMax, continuation) {
                        said.yield(nil)
                    }
                }, refuse: { said.yield($0) }, ended: {})
        }
        return pending
    }

    private static func requestID() -> String {
        var random = SystemRandomNumberGenerator()
        return Hex.encode((0..<16).map { _ in UInt8.random(in: .min ... .max, using: &random) })
    }

    // MARK: Tokens

    package func tokenize(_ text: String, addSpecialTokens: Bool, model: CID) async throws(AnswerFault) -> [UInt32] {
        try await texts.with(model, on: shelf) { tool in
            tool.tokenizer.encode(text, addSpecial: addSpecialTokens).map(UInt32.init(bitPattern:))
        }.answered()
    }

    /// Through the model's chat template; `extras` become its variables.
    package func tokenize(
        _ messages: [AnswerMessage], addGenerationPrompt: Bool, extras: [String: JSONValue], model: CID
    ) async throws(AnswerFault) -> [UInt32] {
        try await texts.with(model, on: shelf) { tool throws(JobFault) in
            guard let template = tool.template else {
                throw JobFault(
                    .invalid, "template", "this model has no chat template; send a text", parameter: "messages")
            }
            do {
                let text = try template.render(
                    messages.map { Inference.ChatMessage(role: $0.role.rawValue, content: $0.content) },
                    addGenerationPrompt: addGenerationPrompt,
                    extra: extras.sorted { $0.key < $1.key }.map { JSONMember($0.key, $0.value) })
                return tool.tokenizer.encode(text, addSpecial: false).map(UInt32.init(bitPattern:))
            } catch {
                throw JobFault(
                    .invalid, "template", "the model's chat template refuses: \(error)", parameter: "messages")
            }
        }.answered()
    }

    /// Special tokens are kept.
    package func detokenize(_ tokens: [UInt32], model: CID) async throws(AnswerFault) -> String {
        try await texts.with(model, on: shelf) { tool throws(JobFault) in
            let ids = try tokens.map { token throws(JobFault) in
                guard let id = Int32(exactly: token), Int(id) < tool.tokenizer.vocabularyCount else {
                    throw JobFault(
                        .invalid, "token_out_of_range",
                        "token \(token) is not in a vocabulary of \(tool.tokenizer.vocabularyCount)",
                        parameter: "tokens")
                }
                return id
            }
            return tool.tokenizer.decode(ids, skipSpecial: false)
        }.answered()
    }
}

/// A request that the sampler can do.
struct LocalPlan: Sendable {
    /// Sources, usage and each choice's end, with room to spare.
    static let eventsBesidesTokens = 8
    static let choicesMax = 128

    let request: AnswerRequest
    let form: PromptForm
    let datanet: Digest?
    private let adapter: CID?
    private let seed: UInt64

    init(_ request: AnswerRequest, adapter: CID?, datanet: Digest?) throws(JobFault) {
        self.request = request
        self.adapter = adapter
        let sampling = request.sampling
        let off: [(name: String, isOff: Bool)] = [
            ("min_p", sampling.minP == 0), ("repetition_penalty", sampling.repetitionPenalty == 1),
            ("frequency_penalty", sampling.frequencyPenalty == 0), ("presence_penalty", sampling.presencePenalty == 0),
            ("logit_bias", sampling.logitBias.isEmpty),
        ]
        if let asked = off.first(where: { !$0.isOff }) {
            throw JobFault(
                .invalid, "unsupported_parameter", "\(asked.name) is not supported by this peer", parameter: asked.name)
        }
        guard (1...Self.choicesMax).contains(request.choices) else {
            throw JobFault(.invalid, "out_of_range", "n must be between 1 and \(Self.choicesMax)", parameter: "n")
        }
        if let most = request.tokensMax, most < 0 || (most == 0 && !request.echo) {
            throw JobFault(.invalid, "out_of_range", "max_tokens must be at least 1", parameter: "max_tokens")
        }
        seed = sampling.seed ?? UInt64.random(in: .min ... .max)
        switch request.prompt {
        case .messages(let messages):
            form = .messages(messages.map { Inference.ChatMessage(role: $0.role.rawValue, content: $0.content) })
        case .text(let text): form = .text(text)
        case .tokens(let tokens): form = .tokens(tokens)
        }
        guard let named = request.datanet, datanet == nil else {
            self.datanet = datanet
            return
        }
        guard let bytes = Hex.decode(named), let id = Digest(bytes) else {
            throw JobFault(
                .missing, "datanet_missing", "there is no datanet \"\(named.prefix(80))\" here", parameter: "datanet")
        }
        self.datanet = id
    }

    /// On the engine's thread.
    func start(
        _ found: Found?, model: LoadedModel, cacheBytesMax: Int,
        _ events: AsyncThrowingStream<AnswerEvent, any Error>.Continuation, accepted: @escaping () -> Void
    ) throws(JobFault) -> StartedJob {
        let written = try PromptWriter.write(form, found, model: model, answerTokensMax: request.tokensMax)
        let tokensMax = request.tokensMax ?? Self.room(after: written.tokens.count, model, cacheBytesMax: cacheBytesMax)
        let requests = (0..<request.choices).map { choice in
            Inference.GenerationRequest(
                prompt: written.tokens, adapter: adapter?.text, tokensMax: tokensMax,
                sampling: Sampling(
                    temperature: Float(request.sampling.temperature), topK: request.sampling.topK,
                    topP: Float(request.sampling.topP), seed: seed, choice: UInt32(choice)),
                stop: request.stop, ignoresEnd: request.ignoreEndOfSequence, logProbabilities: request.logProbabilities,
                scoresPrompt: request.echo && (request.logProbabilities != nil || tokensMax == 0))
        }
        let teller = AnswerTeller(request, prompt: written.tokens, tokenizer: model.tokenizer, events)
        let sources = found.map { found in
            AnswerData.shares(written.passages).map { source, share in
                AnswerTeller.source(source, share, of: found.datanet)
            }
        }
        return StartedJob(requests: requests) {
            accepted()
            if let sources, !sources.isEmpty { events.yield(.sources(sources)) }
        } sink: { event in
            teller.tell(event)
        }
    }

    /// What the context leaves, as far as the cache could ever hold it.
    private static func room(after prompt: Int, _ model: LoadedModel, cacheBytesMax: Int) -> Int {
        // A position takes keys and values of every layer, values rounded up to 16 channels a head (Protocol/numerics.md).
        let channels = model.config.headDimension + (model.config.headDimension + 15) / 16 * 16
        let positionBytes = 4 * model.config.layers * model.config.keyValueHeads * channels
        let positions = cacheBytesMax / max(1, positionBytes) / 16 * 16
        return max(1, min(model.config.contextTokens, positions) - prompt)
    }
}

/// An answer that is not yet accepted.
private struct PendingAnswer {
    let token: JobToken
    /// One value: nil where the engine took the request, else why not.
    let outcome: AsyncStream<JobFault?>
    let events: AsyncThrowingStream<AnswerEvent, any Error>
}

extension Result where Failure == JobFault {
    fileprivate func answered() throws(AnswerFault) -> Success {
        switch self {
        case .success(let value): return value
        case .failure(let fault): throw fault.answerFault
        }
    }
}
